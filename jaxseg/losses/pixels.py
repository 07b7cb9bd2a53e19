"""The pixels that count, means over them, and their truths and probabilities by output."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32, UInt8

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


def labels_of(
    mask: UInt8[Array, "batch height width"], valid: Bool[Array, "batch height width"], outputs: int
) -> Int32[Array, "batch height width"]:
    """The class of each valid pixel, 0 elsewhere; with one output, every class is 1."""
    labels = jnp.where(valid, mask, 0).astype(jnp.int32)
    return jnp.minimum(labels, 1) if outputs == 1 else labels


def foreground_probabilities(
    logits: Float[Array, "batch height width outputs"],
) -> Float32[Array, "batch height width classes"]:
    """Of each class but the background: the sigmoid of one output, or the softmax of several without the first."""
    logits = logits.astype(jnp.float32)
    return jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits)[..., 1:]


def foreground_truths(
    labels: Int32[Array, "batch height width"], outputs: int
) -> Bool[Array, "batch height width classes"]:
    """Where the truth is each class but the background."""
    return labels[..., None] == jnp.arange(1, max(2, outputs))[None, None, None]
