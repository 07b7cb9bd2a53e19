"""Confusion counts, and the scores computed from them."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Float64, Int, Int32, Int64, Real, UInt8


def predict_classes(
    logits: Float[Array, "batch height width channels"], threshold: float = 0.5
) -> UInt8[Array, "batch height width"]:
    """Logits to class indices: the sigmoid above `threshold` for one logit, the largest logit for several."""
    if logits.shape[-1] == 1:
        return (logits[..., 0] > math.log(threshold / (1 - threshold))).astype(jnp.uint8)
    return jnp.argmax(logits, axis=-1).astype(jnp.uint8)


def class_probabilities(
    logits: Float[Array, "batch height width channels"],
) -> Float[Array, "batch height width channels"]:
    """The sigmoid of one logit, the softmax of several."""
    return jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits)


def decide(
    probabilities: Float32[np.ndarray, "*batch height width outputs"], threshold: float
) -> UInt8[np.ndarray, "*batch height width"]:
    """Probabilities to class indices, on the host: above `threshold` for one output, the most probable of several."""
    if probabilities.shape[-1] == 1:
        return (probabilities[..., 0] > threshold).astype(np.uint8)
    return probabilities.argmax(-1).astype(np.uint8)


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


def count_pairs(
    truth: UInt8[np.ndarray, "*pixels"], prediction: UInt8[np.ndarray, "*pixels"], classes: int
) -> Int64[np.ndarray, "classes classes"]:
    """`confusion` on the host; true labels outside 0..classes-1, such as void, count nowhere."""
    cell = np.where(truth < classes, truth.astype(np.int32) * classes + prediction, classes * classes)
    return np.bincount(cell.ravel(), minlength=classes * classes + 1)[:-1].reshape(classes, classes)


class Overlap(NamedTuple):
    """How regions of the truth and of the prediction meet, in pixels; an element for each region.

    The scores are NaN where nothing was there to score.
    """

    both: Real[Any, "*regions"]
    truth: Real[Any, "*regions"]
    predicted: Real[Any, "*regions"]

    @property
    def iou(self) -> Float64[Any, "*regions"]:
        """Intersection over union, tp / (tp + fp + fn)."""
        return share(self.both, self.truth + self.predicted - self.both)

    @property
    def dice(self) -> Float64[Any, "*regions"]:
        """2 tp / (2 tp + fp + fn), also called F1."""
        return share(2 * self.both, self.truth + self.predicted)

    @property
    def precision(self) -> Float64[Any, "*regions"]:
        """The share of what was predicted that is true; NaN where nothing was predicted."""
        return share(self.both, self.predicted)

    @property
    def recall(self) -> Float64[Any, "*regions"]:
        """The share of what is true that was predicted; NaN where nothing is true."""
        return share(self.both, self.truth)


def share(part: Real[Any, "*counts"], whole: Real[Any, "*counts"]) -> Float64[Any, "*counts"]:
    """`part / whole`, NaN where the whole is zero."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) != 0)


def foreground(counts: Int[np.ndarray, "classes classes"]) -> Overlap:
    """Every class but 0, taken together: a pixel given another foreground class is still foreground."""
    counts = np.asarray(counts, np.int64)
    return Overlap(counts[1:, 1:].sum(), counts[1:].sum(), counts[:, 1:].sum())


def per_class(counts: Int[np.ndarray, "classes classes"]) -> Overlap:
    """Each class against the others, the background first."""
    counts = np.asarray(counts, np.int64)
    return Overlap(np.diag(counts), counts.sum(1), counts.sum(0))


class Scores(NamedTuple):
    """What a confusion matrix says; NaN where nothing was there to score."""

    iou: float
    dice: float
    predicted_share: float
    true_share: float
    pixel_accuracy: float
    class_iou: tuple[float, ...]


def scores(counts: Int[np.ndarray, "classes classes"]) -> Scores:
    """The scores of integer counts (rows: truth), added over as many batches as there were."""
    total, together, apart = np.sum(counts, dtype=np.int64), foreground(counts), per_class(counts)
    return Scores(
        iou=float(together.iou),
        dice=float(together.dice),
        predicted_share=float(share(together.predicted, total)),
        true_share=float(share(together.truth, total)),
        pixel_accuracy=float(share(apart.both.sum(), total)),
        class_iou=tuple(map(float, apart.iou)),
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
