"""How the scores depend on the threshold, and the threshold that is best."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from jaxseg.metrics import Overlap, share
from jaxseg.scores.levels import LEVELS

STEPS = 1024


class Sweep(NamedTuple):
    """The foreground at the thresholds 0, 1/1024, 2/1024, ...; a pixel is foreground above the threshold."""

    thresholds: Float64[np.ndarray, " thresholds"]
    overlap: Overlap
    pixels: int


class Best(NamedTuple):
    """A threshold with the IoU that it gives."""

    threshold: float
    iou: float


def sweep(levels: Int64[np.ndarray, "2 levels"]) -> Sweep:
    """From pixels by truth and level: each threshold is the edge of a level, so the counts are exact."""
    above = levels.sum(1, keepdims=True) - np.cumsum(levels, axis=1)
    above = above[:, : LEVELS : LEVELS // STEPS]
    both, predicted = above[1], above.sum(0)
    truth = np.full_like(both, levels[1].sum())
    return Sweep(np.arange(STEPS) / STEPS, Overlap(both, truth, predicted), int(levels.sum()))


def best_threshold(found: Sweep) -> Best | None:
    """The threshold of the largest IoU; of several, the one nearest to one half.

    None where none is better than to call every pixel foreground: the probabilities tell nothing.
    """
    iou = np.nan_to_num(found.overlap.iou[1:])
    if not found.pixels or iou.max() <= found.overlap.truth[0] / found.pixels:
        return None
    ties = np.flatnonzero(iou == iou.max()) + 1
    place = ties[np.argmin(np.abs(found.thresholds[ties] - 0.5))]
    return Best(float(found.thresholds[place]), float(iou.max()))


def average_precision(levels: Int64[np.ndarray, "2 levels"]) -> float:
    """The area under precision by recall, as a sum of steps: sum of (R_n - R_(n-1)) P_n, over pixels.

    NaN where nothing is true.
    """
    true, predicted = np.cumsum(levels[1, ::-1]), np.cumsum(levels.sum(0)[::-1])
    gained = share(levels[1, ::-1], np.full_like(true, true[-1]))
    return float(np.sum(gained * np.nan_to_num(share(true, predicted))))
