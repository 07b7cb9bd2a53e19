"""The arrays that travel from the loader to the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

if TYPE_CHECKING:  # the data code runs in processes that must not import JAX
    import jax

VOID = 255
"""Mask value of pixels that count nowhere: not in the loss, the scores or the batch statistics."""

MAX_CLASSES = VOID - 1


class Batch(NamedTuple):
    """Images with their masks, on the host or on the device.

    `image` holds 0..255. `mask` holds class indices: 0 background, 255 void.
    `weight` is 1, or 0 for padding and for samples that could not be read.
    """

    image: UInt8[np.ndarray | jax.Array, "batch height width channels"]
    mask: UInt8[np.ndarray | jax.Array, "batch height width"]
    weight: Float32[np.ndarray | jax.Array, " batch"]
