"""Losses of the overlap of prediction and truth: Dice and Tversky."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, UInt8

from jaxseg.losses.pixels import foreground_probabilities, foreground_truths, labels_of


@dataclass(frozen=True)
class Tversky:
    """1 - (TP + smooth) / (TP + false_positives FP + false_negatives FN + smooth), the mean over the classes.

    Salehi et al. 2017, arXiv:1706.05721; with a power, the focal Tversky loss (Abraham and Khan 2018,
    arXiv:1810.07842). TP, FP and FN are sums of probabilities over the valid pixels of the whole batch, or of each
    image; the background is no class of its own. It lies in 0..1: 0 for a certain and right prediction, or where a
    class is neither there nor predicted.

    Attributes:
        false_positives: their weight; a half, and a half of the other, is Dice, 1 and 1 is the Jaccard index (IoU).
        false_negatives: their weight; more than the other's finds more of a rare class.
        power: of the loss of a class, at least 1.
        smooth: pixels; they keep a class that is absent from being divided by zero.
        per_image: an index for each image, then their mean; else one for the batch.
    """

    false_positives: float = 0.3
    false_negatives: float = 0.7
    power: float = 1.0
    smooth: float = 1.0
    per_image: bool = False

    def __call__(
        self,
        logits: Float[Array, "batch height width channels"],
        mask: UInt8[Array, "batch height width"],
        valid: Bool[Array, "batch height width"],
    ) -> Float[Array, ""]:
        """The loss of a batch; 0 where nothing is valid."""
        missed = 1 - tversky_index(
            logits, mask, valid, (self.false_positives, self.false_negatives), self.smooth, self.per_image
        )
        return mean_of_groups(missed**self.power if self.power != 1 else missed, valid, self.per_image)


@dataclass(frozen=True)
class Dice:
    """1 - (2 TP + smooth) / (2 TP + FP + FN + smooth), the mean over the classes.

    Milletari et al. 2016, arXiv:1606.04797, with plain sums below. Else as `Tversky`, of which it is a case.

    Attributes:
        smooth: pixels; they keep a class that is absent from being divided by zero.
        per_image: an index for each image, then their mean; else one for the batch.
    """

    smooth: float = 1.0
    per_image: bool = False

    def __call__(
        self,
        logits: Float[Array, "batch height width channels"],
        mask: UInt8[Array, "batch height width"],
        valid: Bool[Array, "batch height width"],
    ) -> Float[Array, ""]:
        """The loss of a batch; 0 where nothing is valid."""
        missed = 1 - tversky_index(logits, mask, valid, (0.5, 0.5), self.smooth / 2, self.per_image)
        return mean_of_groups(missed, valid, self.per_image)


def tversky_index(
    logits: Float[Array, "batch height width channels"],
    mask: UInt8[Array, "batch height width"],
    valid: Bool[Array, "batch height width"],
    weights: tuple[float, float],
    smooth: float,
    per_image: bool,
) -> Float32[Array, "groups classes"]:
    """Of each class but the background, in each image or in the batch (one group)."""
    outputs = logits.shape[-1]
    truth = foreground_truths(labels_of(mask, valid, outputs), outputs)
    probability = jnp.where(valid[..., None], foreground_probabilities(logits), 0)

    def total(values: Float32[Array, "batch height width classes"]) -> Float32[Array, "groups classes"]:
        sums = values.sum(axis=(1, 2))  # each image first: one float32 sum over millions of pixels would lose digits
        return sums if per_image else sums.sum(axis=0, keepdims=True)

    right = total(jnp.where(truth, probability, 0))
    wrong = total(jnp.where(truth, 0, probability))
    missed = total(jnp.where(truth, 1 - probability, 0))
    return (right + smooth) / (right + weights[0] * wrong + weights[1] * missed + smooth)


def mean_of_groups(
    losses: Float32[Array, "groups classes"], valid: Bool[Array, "batch height width"], per_image: bool
) -> Float32[Array, ""]:
    """Over classes and those groups that have a valid pixel."""
    counts = valid.any(axis=(1, 2)) if per_image else valid.any()[None]
    return jnp.where(counts, losses.mean(axis=1), 0).sum() / jnp.maximum(counts.sum(), 1)
