"""Probabilities counted in fine levels, apart for what was true and what was not."""

import numpy as np
from jaxtyping import Bool, Float32, Int64

LEVELS = 2**16
"""A power of two, so that floating point holds every level's edge, and `probability > edge` is counted exactly."""


def made_finite(
    probabilities: Float32[np.ndarray, "height width outputs"],
) -> tuple[Float32[np.ndarray, "height width outputs"], int]:
    """With 0 at the pixels where one is not a number, and how many these are."""
    if np.isfinite(probabilities.sum()):
        return probabilities, 0
    finite = np.isfinite(probabilities).all(-1, keepdims=True)
    return np.where(finite, probabilities, np.float32(0)), int(np.count_nonzero(~finite))


def count_levels(
    probability: Float32[np.ndarray, "*pixels"],
    happened: Bool[np.ndarray, "*pixels"],
    valid: Bool[np.ndarray, "*pixels"],
) -> Int64[np.ndarray, "2 levels"]:
    """Valid pixels by whether it happened (row 1) or not (row 0), and by the level of the probability given to it.

    Level 0 is the probability 0, level n holds those above (n - 1) / LEVELS up to n / LEVELS.
    """
    cell = np.ceil(probability * LEVELS).astype(np.int32)
    cell += happened * np.int32(LEVELS + 1)
    cell[~valid] = 2 * (LEVELS + 1)
    return np.bincount(cell.ravel(), minlength=2 * (LEVELS + 1) + 1)[:-1].reshape(2, LEVELS + 1)
