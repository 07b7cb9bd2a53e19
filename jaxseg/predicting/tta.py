"""Test-time augmentation: the mean of what a network says of an image's flips and sizes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, PyTree, UInt8

from jaxseg.errors import InputError

Flips = Literal["none", "mirror", "all"]
AXES: dict[Flips, tuple[tuple[int, ...], ...]] = {"none": ((),), "mirror": ((), (2,)), "all": ((), (2,), (1,), (1, 2))}

Forward = Callable[[PyTree, UInt8[Array, "batch height width channels"]], Float32[Array, "batch height width outputs"]]


@dataclass(frozen=True)
class Tta:
    """What an image is also shown as; probabilities are averaged.

    Attributes:
        flips: `mirror`: left and right exchanged, twice the time; `all`: upside down as well, four times.
        scales: sizes of the image, as shares of the network's.
    """

    flips: Flips = "none"
    scales: tuple[float, ...] = (1.0,)


NO_TTA = Tta()


def averaged(forward: Forward, tta: Tta, stride: int) -> Forward:
    """`forward`, averaged over flips and scales; sizes are rounded to multiples of `stride`.

    Raises:
        InputError: for no scale, or one that is not above 0.
    """
    if not tta.scales or not all(0 < scale < float("inf") for scale in tta.scales):
        raise InputError(f"scales {' '.join(map(str, tta.scales))}: give at least one, each above 0.")
    if tta == NO_TTA:
        return forward

    def mean(variables: PyTree, images: Array) -> Array:
        _, height, width, _ = images.shape
        found = []
        for scale in tta.scales:
            size = tuple(max(1, round(side * scale / stride)) * stride for side in (height, width))
            seen = resized(images, size)
            for axes in AXES[tta.flips]:
                found.append(resized(jnp.flip(forward(variables, jnp.flip(seen, axes)), axes), (height, width)))
        # summed in pairs, so that a flip of the input, which exchanges pairs, changes no rounding
        while len(found) > 1:
            found = [a + b for a, b in zip(found[::2], found[1::2], strict=False)] + found[len(found) // 2 * 2 :]
        return found[0] / (len(tta.scales) * len(AXES[tta.flips]))

    return mean


def resized(images: Array, size: tuple[int, ...]) -> Array:
    """Linearly, antialiased where it shrinks; of the same type."""
    if images.shape[1:3] == size:
        return images
    found = jax.image.resize(images.astype(jnp.float32), (images.shape[0], *size, images.shape[3]), "linear")
    return jnp.round(found).astype(images.dtype) if images.dtype == jnp.uint8 else found
