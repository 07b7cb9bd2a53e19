"""The inner boundaries of regions, and how those of truth and prediction meet."""

import math

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from jaxseg.arrays import VOID

DILATION = 0.02


def boundary_distance(height: int, width: int) -> int:
    """How many pixels a boundary is wide: 0.02 of the picture's diagonal, at least 1."""
    return max(1, round(DILATION * math.hypot(height, width)))


def inner_boundary(region: Bool[np.ndarray, "height width"], distance: int) -> Bool[np.ndarray, "height width"]:
    """The pixels of a region that a 3 x 3 erosion, repeated `distance` times, takes away.

    Outside the frame counts as background, so a region that leaves the picture has a boundary there.
    """
    return region & ~_eroded(_eroded(region, distance, 0), distance, 1)


def _eroded(region: Bool[np.ndarray, "_ _"], distance: int, axis: int) -> Bool[np.ndarray, "_ _"]:
    """Where all pixels up to `distance` away along an axis belong to the region.

    Windows of 1, 2, 4, ... pixels are joined up to the whole, so that a wide boundary costs little more than a narrow.
    """
    padding = [(distance, distance) if a == axis else (0, 0) for a in (0, 1)]
    window, goal = 1, 2 * distance + 1
    joined = np.moveaxis(np.pad(region, padding), axis, 0)
    while window < goal:
        step = min(window, goal - window)
        joined = joined[:-step] & joined[step:]
        window += step
    return np.moveaxis(joined, 0, axis)


def count_boundaries(
    truth: UInt8[np.ndarray, "height width"], prediction: UInt8[np.ndarray, "height width"], classes: int
) -> Int64[np.ndarray, "3 regions"]:
    """Boundary pixels in both, of the truth, of the prediction; for the foreground as a whole, then classes 1, 2, ...

    Boundary IoU (Cheng et al., Boundary IoU, CVPR 2021) is the IoU of these counts. Void pixels become background in
    both masks before the boundaries are taken: whatever is predicted there changes nothing.
    """
    known = truth != VOID
    truth, prediction = truth * known, prediction * known
    distance = boundary_distance(*truth.shape)
    counts = np.zeros((3, classes), np.int64)
    counts[:, 0] = _meet(truth > 0, prediction > 0, distance)
    if classes == 2:
        counts[:, 1] = counts[:, 0]
        return counts
    for label in np.union1d(truth, prediction):
        if label:
            counts[:, label] = _meet(truth == label, prediction == label, distance)
    return counts


def _meet(
    truth: Bool[np.ndarray, "height width"], prediction: Bool[np.ndarray, "height width"], distance: int
) -> Int64[np.ndarray, " 3"]:
    ours, theirs = inner_boundary(truth, distance), inner_boundary(prediction, distance)
    return np.array([np.count_nonzero(pixels) for pixels in (ours & theirs, ours, theirs)], np.int64)
