"""Whether things happen as often as the probabilities say."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from jaxseg.metrics import share
from jaxseg.scores.levels import LEVELS

BINS = 16


class Calibration(NamedTuple):
    """By bins of equal width: the pixels, their mean probability, and the share of them for which it came true."""

    pixels: Int64[np.ndarray, " bins"]
    probability: Float64[np.ndarray, " bins"]
    frequency: Float64[np.ndarray, " bins"]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean over pixels of |frequency - probability| of their bin.

        sum over bins of n_b / N |frequency_b - probability_b| (Naeini et al., AAAI 2015; Guo et al., ICML 2017).
        """
        weight = share(self.pixels, np.full_like(self.pixels, self.pixels.sum()))
        return float(np.sum(weight * np.nan_to_num(np.abs(self.frequency - self.probability))))


def calibrate(levels: Int64[np.ndarray, "2 levels"]) -> Calibration:
    """From pixels by whether it happened, and level; a level counts as its middle, at most 2**-17 off."""
    middle = np.maximum(np.arange(LEVELS + 1) - 0.5, 0) / LEVELS
    bin_ = np.maximum(np.arange(LEVELS + 1) - 1, 0) // (LEVELS // BINS)
    each = levels.sum(0)
    pixels, came_true = (np.bincount(bin_, counts, BINS).astype(np.int64) for counts in (each, levels[1]))
    stated = np.bincount(bin_, each * middle, BINS)
    return Calibration(pixels, share(stated, pixels), share(came_true, pixels))
