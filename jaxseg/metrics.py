"""Confusion counts, and the scores computed from them."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int32, Int64, UInt8


def predict_classes(
    logits: Float[Array, "batch height width channels"], threshold: float = 0.5
) -> UInt8[Array, "batch height width"]:
    """Logits to class indices: the sigmoid above `threshold` for one logit, the largest logit for several."""
    if logits.shape[-1] == 1:
        return (logits[..., 0] > math.log(threshold / (1 - threshold))).astype(jnp.uint8)
    return jnp.argmax(logits, axis=-1).astype(jnp.uint8)


def confusion(
    truth: UInt8[Array, "*pixels"], prediction: UInt8[Array, "*pixels"], valid: Bool[Array, "*pixels"], classes: int
) -> Int32[Array, "classes classes"]:
    """Valid pixels of each true class (row) given each predicted class (column), background included.

    Exact below 2**31 pixels. Labels outside 0..classes-1 count nowhere.
    """
    cell = truth.astype(jnp.int32) * classes + prediction
    known = valid & (truth < classes) & (prediction < classes)
    cell = jnp.where(known, cell, classes * classes)
    return jnp.bincount(cell.ravel(), length=classes * classes + 1)[:-1].reshape(classes, classes)


class Scores(NamedTuple):
    """What a confusion matrix says; NaN where nothing was there to score.

    Foreground is every class but 0, taken together: IoU = tp / (tp + fp + fn), Dice = 2 tp / (2 tp + fp + fn).
    """

    iou: float
    dice: float
    predicted_share: float
    true_share: float
    pixel_accuracy: float
    class_iou: tuple[float, ...]


def scores(counts: Int[np.ndarray, "classes classes"]) -> Scores:
    """The scores of integer counts (rows: truth), added over as many batches as there were."""
    counts = np.asarray(counts, np.int64)
    total = counts.sum()
    true_foreground, predicted_foreground = counts[1:].sum(), counts[:, 1:].sum()
    both = counts[1:, 1:].sum()
    per_class = np.diag(counts)
    return Scores(
        iou=ratio(both, true_foreground + predicted_foreground - both),
        dice=ratio(2 * both, true_foreground + predicted_foreground),
        predicted_share=ratio(predicted_foreground, total),
        true_share=ratio(true_foreground, total),
        pixel_accuracy=ratio(per_class.sum(), total),
        class_iou=tuple(map(ratio, per_class, counts.sum(0) + counts.sum(1) - per_class)),
    )


class Totals(NamedTuple):
    """Sums over batches, on the host: exact whatever the batch sizes were."""

    loss: float
    pixels: int
    confusion: Int64[np.ndarray, "classes classes"]

    @classmethod
    def empty(cls, classes: int) -> "Totals":
        """Nothing seen yet."""
        return cls(0.0, 0, np.zeros((classes, classes), np.int64))

    def add(self, mean_loss: float, pixels: int, confusion: Int[np.ndarray, "classes classes"]) -> "Totals":
        """With one more batch, of which the mean loss over its valid pixels is known."""
        return Totals(self.loss + mean_loss * pixels, self.pixels + pixels, self.confusion + confusion)

    @property
    def mean_loss(self) -> float:
        """Over all valid pixels; NaN if there were none."""
        return self.loss / self.pixels if self.pixels else math.nan

    @property
    def scores(self) -> Scores:
        """Of all that was added."""
        return scores(self.confusion)


def ratio(part: int | np.int64, whole: int | np.int64) -> float:
    """`part / whole`, NaN when the whole is zero."""
    return float(part) / float(whole) if whole else math.nan
