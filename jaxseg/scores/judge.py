"""What one image adds to the scores: integer counts."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from jaxseg.arrays import VOID
from jaxseg.metrics import count_pairs, decide
from jaxseg.scores.boundary import count_boundaries
from jaxseg.scores.levels import count_levels, made_finite
from jaxseg.scores.objects import Drawn, count_objects


class Tally(NamedTuple):
    """Counts of one image, or added up over several.

    `confusion`: pixels of each true class (row) by predicted class. `boundary`: see `count_boundaries`. `levels`: by
    the probability of foreground, and whether it is. `confidence`: by the probability of the predicted class, and
    whether it is right; of a binary model the same as `levels`. `objects`: see `count_objects`. `unsound`: pixels of
    which the probability is not a number; they count as 0.
    """

    confusion: Int64[np.ndarray, "classes classes"]
    boundary: Int64[np.ndarray, "3 classes"]
    levels: Int64[np.ndarray, "2 levels"]
    confidence: Int64[np.ndarray, "2 levels"]
    objects: Int64[np.ndarray, "sizes 4"]
    unsound: int

    def __add__(self, other: Any) -> "Tally":
        """Count by count."""
        return Tally(*(ours + theirs for ours, theirs in zip(self, other, strict=True)))  # pyright: ignore


def judge(
    truth: UInt8[np.ndarray, "height width"],
    probabilities: Float32[np.ndarray, "height width outputs"],
    threshold: float,
    objects: Iterable[Drawn] = (),
) -> Tally:
    """The counts of one image; void pixels of the truth count nowhere."""
    probabilities, unsound = made_finite(probabilities)
    outputs = probabilities.shape[-1]
    classes = max(2, outputs)
    prediction, valid = decide(probabilities, threshold), truth != VOID
    if outputs == 1:
        levels = confidence = count_levels(probabilities[..., 0], truth > 0, valid)
    else:
        levels = count_levels(np.clip(1 - probabilities[..., 0], 0, 1), truth > 0, valid)
        confidence = count_levels(np.clip(probabilities.max(-1), 0, 1), truth == prediction, valid)
    return Tally(
        count_pairs(truth, prediction, classes),
        count_boundaries(truth, prediction, classes),
        levels,
        confidence,
        count_objects(objects, truth, prediction),
        unsound,
    )
