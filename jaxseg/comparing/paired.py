"""How much better one recipe is than another on the same images."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Real

from jaxseg.comparing.recipes import Recipe
from jaxseg.metrics import share
from jaxseg.scores.bootstrap import bootstrap
from jaxseg.scores.scoreboard import Interval


def difference(ours: Recipe, theirs: Recipe, split: str) -> Interval | None:
    """IoU of the foreground, ours less theirs, with its 95 % interval; None without both or on other images.

    The same images are drawn for both, so that what is hard for both cancels. The counts of a recipe's runs are added.
    """
    mine, others = pooled(ours, split), pooled(theirs, split)
    if not mine or not others or mine.keys() != others.keys():
        return None
    columns = np.array([[*mine[id_], *others[id_]] for id_ in mine], np.int64)
    value = gain(columns.sum(0, keepdims=True))[0, 0]
    low, high = bootstrap(columns, gain)[:, 0]
    return Interval(float(value), float(low), float(high))


def pooled(recipe: Recipe, split: str) -> dict[int, Sequence[int]] | None:
    """The counts of each image, added over the runs; None where the runs were not evaluated on the same images."""
    counts = [run.scored[split].counts for run in recipe.runs if split in run.scored]
    if not counts or any(of.keys() != counts[0].keys() for of in counts):
        return None
    return {id_: np.sum([of[id_] for of in counts], axis=0).tolist() for id_ in counts[0]}


def gain(sums: Real[np.ndarray, "draws 6"]) -> Float64[np.ndarray, "draws 1"]:
    """IoU from the first three columns (TP, FP, FN) less that from the last three."""
    ours, theirs = (share(side[:, 0], side.sum(1)) for side in np.split(sums, 2, axis=1))
    return (ours - theirs)[:, None]
