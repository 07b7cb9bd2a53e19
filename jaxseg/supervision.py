"""Deep supervision: the loss at several resolutions (Lee et al. 2015, arXiv:1409.5185), weighted as nnU-Net does."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Shaped, UInt8

Loss = Callable[..., Float32[Array, ""]]


def supervised(
    loss: Loss,
    logits: Sequence[Float[Array, "batch _ _ channels"]],
    mask: UInt8[Array, "batch height width"],
    valid: Bool[Array, "batch height width"],
) -> Float32[Array, ""]:
    """The weighted mean of the loss of logits, the finest first; each has half the weight of the one before.

    Masks, and which pixels count, are those of the nearest pixels.
    """
    if len(logits) == 1:
        return loss(logits[0], mask, valid)
    weights = np.float32(0.5) ** np.arange(len(logits), dtype=np.float32)
    sizes = [level.shape[1:3] for level in logits]
    values = [loss(level, shrunk(mask, *size), shrunk(valid, *size)) for level, size in zip(logits, sizes, strict=True)]
    return (jnp.stack(values) * (weights / weights.sum())).sum()


def shrunk(pixels: Shaped[Array, "batch _ _"], height: int, width: int) -> Shaped[Array, "batch height width"]:
    """The pixel nearest to the middle of each of fewer, larger ones: PyTorch's `nearest-exact`."""
    rows, columns = (
        (2 * np.arange(few) + 1) * many // (2 * few)
        for few, many in zip((height, width), pixels.shape[1:], strict=True)
    )
    return pixels[:, rows[:, None], columns[None]]
