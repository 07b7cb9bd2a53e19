"""The arrays that travel from the loader to the step."""

from typing import Any, NamedTuple

from jaxtyping import Float32, UInt8

VOID = 255
"""Mask value of pixels that count nowhere: not in the loss, the scores or the batch statistics."""

MAX_CLASSES = VOID - 1
"""Class indices, but for the background's, end below VOID."""


class Batch(NamedTuple):
    """Images with their masks: NumPy's on the host, JAX's on the device, so no JAX is imported here.

    `image` holds 0..255. `mask` holds class indices: 0 background, 255 void.
    `weight` is 1, or 0 for padding and for samples that could not be read.
    """

    image: UInt8[Any, "batch height width channels"]
    mask: UInt8[Any, "batch height width"]
    weight: Float32[Any, " batch"]
