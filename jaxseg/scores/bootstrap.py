"""Confidence intervals by drawing the images anew."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Real

RESAMPLES = 1000
CHUNK = 2**24  # weights held at a time

Score = Callable[[Float64[np.ndarray, "resamples columns"]], Float64[np.ndarray, "resamples scores"]]


def bootstrap(
    counts: Real[np.ndarray, "images columns"], score: Score, *, seed: int = 0, confidence: float = 0.95
) -> Float64[np.ndarray, "2 scores"]:
    """The percentile interval of scores of summed counts (Efron, 1979): lower and upper ends.

    The images are drawn with replacement 1,000 times; `score` sees the sums of each draw. Draws in which a score is
    NaN are left out of its interval; a score that is NaN in all has the interval NaN. Sums are exact below 2**53.
    """
    images = len(counts)
    draws, columns = np.random.default_rng(seed), counts.astype(np.float64)
    at_once = max(1, CHUNK // images)
    found = []
    for start in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - start)
        weights = draws.multinomial(images, np.full(images, 1 / images), size=size)
        found.append(score(weights.astype(np.float64) @ columns))
    drawn = np.concatenate(found)
    ends = np.full((2, drawn.shape[1]), np.nan)
    known = ~np.isnan(drawn).all(0)
    tail = 50 * (1 - confidence)
    ends[:, known] = np.nanpercentile(drawn[:, known], [tail, 100 - tail], axis=0)
    return ends
