"""Pixel losses on logits, averaged over the valid pixels of a batch."""

from dataclasses import dataclass

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, UInt8

from jaxseg.arrays import VOID, Batch


def valid_pixels(batch: Batch) -> Bool[Array, "batch height width"]:
    """True where a pixel counts: not void, in a sample whose weight is not zero."""
    return (batch.mask != VOID) & (batch.weight > 0)[:, None, None]


def masked_mean(
    values: Float[Array, "batch height width"], valid: Bool[Array, "batch height width"]
) -> Float[Array, ""]:
    """The mean of `values` where `valid`; 0 where nothing is valid."""
    # Each image is summed first: a single float32 sum over millions of pixels would lose digits.
    total = jnp.sum(jnp.where(valid, values, 0).sum(axis=(1, 2)))
    return total / jnp.maximum(valid.sum(), 1)


@dataclass(frozen=True)
class CrossEntropy:
    """-log p(true class), the mean over valid pixels, in nats; it is at least 0, and log(classes) for uniform logits.

    One logit: p is the sigmoid (binary cross-entropy). Several: p is the softmax, channel 0 the background.
    Computed from logits in float32 whatever their type, so that it stays finite where a sigmoid saturates.
    """

    def __call__(
        self,
        logits: Float[Array, "batch height width channels"],
        mask: UInt8[Array, "batch height width"],
        valid: Bool[Array, "batch height width"],
    ) -> Float[Array, ""]:
        """The loss of a batch; `mask` is read only where `valid`."""
        logits = logits.astype(jnp.float32)
        labels = jnp.where(valid, mask, 0)
        if logits.shape[-1] == 1:
            pixels = optax.sigmoid_binary_cross_entropy(logits[..., 0], (labels > 0).astype(jnp.float32))
        else:
            pixels = optax.softmax_cross_entropy_with_integer_labels(logits, labels.astype(jnp.int32))
        return masked_mean(pixels, valid)
