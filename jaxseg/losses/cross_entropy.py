"""Cross-entropy, with weights by class and near boundaries."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Float32, Int32, Int64, UInt8

from jaxseg.errors import InputError
from jaxseg.losses.pixels import labels_of, masked_mean


@dataclass(frozen=True)
class CrossEntropy:
    """-log p(true class), the mean over valid pixels, in nats; it is at least 0, and log(classes) for uniform logits.

    One logit: p is the sigmoid (binary cross-entropy). Several: p is the softmax, channel 0 the background.
    Computed from logits in float32 whatever their type, so that it stays finite where a sigmoid saturates.

    Attributes:
        pos_weight: how much a foreground pixel counts, where one of the background counts 1 (PyTorch's `pos_weight`);
            one number, or one for each class. `auto`: background over foreground pixels, measured before training.
        label_smoothing: this share of the truth is spread evenly over all classes (Szegedy et al. 2016,
            arXiv:1512.00567).
        boundary_weight: what pixels near a boundary between classes count in addition; 0: nothing.
        boundary_width: how near, in pixels along rows, columns and diagonals.
    """

    pos_weight: float | tuple[float, ...] | Literal["auto"] = 1.0
    label_smoothing: float = 0.0
    boundary_weight: float = 0.0
    boundary_width: int = 2

    def __call__(
        self,
        logits: Float[Array, "batch height width channels"],
        mask: UInt8[Array, "batch height width"],
        valid: Bool[Array, "batch height width"],
    ) -> Float[Array, ""]:
        """The loss of a batch; `mask` is read only where `valid`. Weighted sums are divided by the number of pixels.

        Raises:
            InputError: if `pos_weight` is still `auto`, or has not a number for each class.
        """
        logits, outputs = logits.astype(jnp.float32), logits.shape[-1]
        labels, smoothing = labels_of(mask, valid, outputs), self.label_smoothing
        if outputs == 1:
            truth = labels.astype(jnp.float32)
            pixels = optax.sigmoid_binary_cross_entropy(
                logits[..., 0], truth * (1 - smoothing) + smoothing / 2 if smoothing else truth
            )
        elif smoothing:
            truth = optax.smooth_labels(jax.nn.one_hot(labels, outputs), smoothing)
            pixels = optax.softmax_cross_entropy(logits, truth)
        else:
            pixels = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        if self.pos_weight != 1:
            pixels *= class_weights(self.pos_weight, max(2, outputs))[labels]
        if self.boundary_weight:
            pixels *= 1 + self.boundary_weight * near_boundary(labels, valid, self.boundary_width)
        return masked_mean(pixels, valid)

    def measured(self, pixels: Int64[np.ndarray, " classes"]) -> "CrossEntropy":
        """With `auto` replaced, given the number of pixels of each class, the background's first.

        Each class then weighs as much as the background in all (where there is none: as the largest class); a class
        without pixels keeps 1. With two classes this is background over foreground.
        """
        if self.pos_weight != "auto":
            return self
        base = int(pixels[0]) or int(pixels.max())
        weights = [round(base / int(count), 4) if count else 1.0 for count in pixels[1:]]
        return dataclasses.replace(self, pos_weight=tuple(weights) if len(weights) > 1 else weights[0])


def class_weights(pos_weight: float | tuple[float, ...] | Literal["auto"], classes: int) -> Float32[Array, " classes"]:
    """1 for the background, then what each class counts."""
    if pos_weight == "auto":
        raise InputError("loss.pos_weight is 'auto': measure it first, by loss.measured(pixels of each class).")
    given = pos_weight if isinstance(pos_weight, tuple) else (pos_weight,) * (classes - 1)
    if len(given) != classes - 1:
        raise InputError(
            f"loss.pos_weight has {len(given)} numbers; the network tells {classes - 1} classes from the background. "
            "Give one number for all, or one for each class."
        )
    return jnp.asarray((1.0, *given), jnp.float32)


def near_boundary(
    labels: Int32[Array, "batch height width"], valid: Bool[Array, "batch height width"], width: int
) -> Bool[Array, "batch height width"]:
    """True where a valid pixel of another class lies within `width` pixels in both directions."""
    window = (1, 2 * width + 1, 2 * width + 1)

    def extreme(which: Literal["max", "min"]) -> Int32[Array, "batch height width"]:
        # A void pixel has no class: it is never the extreme.
        away, reduce = {"max": (-1, jax.lax.max), "min": (256, jax.lax.min)}[which]
        seen = jnp.where(valid, labels, away)
        return jax.lax.reduce_window(seen, jnp.int32(away), reduce, window, (1, 1, 1), "SAME")

    return (extreme("max") != labels) | (extreme("min") != labels)
