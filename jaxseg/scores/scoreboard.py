"""All scores of the counts of images, with their intervals."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64, Real

from jaxseg.metrics import Overlap, foreground, per_class, share
from jaxseg.scores.bootstrap import bootstrap


class Interval(NamedTuple):
    """A score, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class Counts(NamedTuple):
    """Integer counts of each image.

    The second axis holds: in both, of the truth, of the prediction. The regions of `pixels` are the foreground as a
    whole, then each class, the background first; those of `boundary` the foreground, then the classes 1, 2, ...
    """

    pixels: Int64[np.ndarray, "images 3 regions"]
    boundary: Int64[np.ndarray, "images 3 classes"]


def regions(confusion: Int64[np.ndarray, "classes classes"]) -> Int64[np.ndarray, "3 regions"]:
    """One image's row of `Counts.pixels`."""
    whole, classes = foreground(confusion), per_class(confusion)
    return np.stack([np.append(one, rest) for one, rest in zip(whole, classes, strict=True)])


def intervals(counts: Counts, *, seed: int = 0) -> dict[str, Interval]:
    """Every score by its name, as `all_scores` gives them, with 95 % intervals by a bootstrap over the images."""
    images, _, regions = counts.pixels.shape
    each = Overlap(*counts.pixels[:, :, 0].T)
    with_truth = each.truth > 0
    means = np.stack([np.where(with_truth, each.iou, 0), np.where(with_truth, each.dice, 0), with_truth], axis=1)
    flat = np.concatenate([counts.pixels.reshape(images, -1), counts.boundary.reshape(images, -1), means], axis=1)

    def named(sums: Real[np.ndarray, "draws columns"]) -> dict[str, Float[np.ndarray, " draws"]]:
        pixels, boundary, means = np.split(sums, [3 * regions, 3 * regions + 3 * (regions - 1)], axis=1)
        return all_scores(pixels.reshape(-1, 3, regions), boundary.reshape(-1, 3, regions - 1), means)

    found = {name: score[0] for name, score in named(flat.sum(0, keepdims=True)).items()}
    low, high = bootstrap(flat, lambda sums: np.stack(list(named(sums).values()), axis=1), seed=seed)
    ends = zip(found.items(), low, high, strict=True)
    return {name: Interval(float(value), float(least), float(most)) for (name, value), least, most in ends}


def all_scores(
    pixels: Real[np.ndarray, "draws 3 regions"],
    boundary: Real[np.ndarray, "draws 3 classes"],
    means: Real[np.ndarray, "draws 3"],
) -> dict[str, Float[np.ndarray, " draws"]]:
    """Scores of counts added over images; those of class n end in `/n`.

    `means` holds the sums of IoU and Dice of the images that have true foreground, and the number of these images.
    """
    areas, edges = Overlap(*np.moveaxis(pixels, 1, 0)), Overlap(*np.moveaxis(boundary, 1, 0))
    iou, dice, precision, recall, boundary_iou = areas.iou, areas.dice, areas.precision, areas.recall, edges.iou
    scores = {
        "iou": iou[:, 0],
        "dice": dice[:, 0],
        "precision": precision[:, 0],
        "recall": recall[:, 0],
        "boundary_iou": boundary_iou[:, 0],
        "pixel_accuracy": share(areas.both[:, 1:].sum(1), areas.truth[:, 1:].sum(1)),
        "image_iou": share(means[:, 0], means[:, 2]),
        "image_dice": share(means[:, 1], means[:, 2]),
        "class_iou": mean_of_known(iou[:, 2:]),
        "class_dice": mean_of_known(dice[:, 2:]),
    }
    for label in range(pixels.shape[-1] - 1):
        of_class = {"iou": iou, "dice": dice, "precision": precision, "recall": recall}
        scores |= {f"{name}/{label}": score[:, 1 + label] for name, score in of_class.items()}
        if label:
            scores[f"boundary_iou/{label}"] = boundary_iou[:, label]
    return scores


def mean_of_known(scores: Float[np.ndarray, "draws classes"]) -> Float[np.ndarray, " draws"]:
    """The mean over the classes that are there; NaN if there is none."""
    return share(np.nansum(scores, axis=1), np.sum(~np.isnan(scores), axis=1))
