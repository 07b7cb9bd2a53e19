"""Random changes of an image's colours and sharpness, in 0..1; the mask stays."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from jaxseg.augment.shape import Image

LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601, as Pillow's mode L."""


def grey_of(image: Image) -> Float[Array, "height width 1"]:
    """The brightness of each pixel."""
    return image if image.shape[-1] == 1 else (image * jnp.array(LUMA)[None, None]).sum(axis=-1, keepdims=True)


def brightened(image: Image, factor: Float[Array, ""]) -> Image:
    """0 is black, 1 leaves it."""
    return jnp.clip(image * factor, 0, 1)


def contrasted(image: Image, factor: Float[Array, ""]) -> Image:
    """0 is the mean grey everywhere, 1 leaves it."""
    return jnp.clip(grey_of(image).mean() * (1 - factor) + image * factor, 0, 1)


def saturated(image: Image, factor: Float[Array, ""]) -> Image:
    """0 is grey, 1 leaves it."""
    return jnp.clip(grey_of(image) * (1 - factor) + image * factor, 0, 1)


def hue_turned(image: Image, angle: Float[Array, ""]) -> Image:
    """Colours turned about the axis of greys, by radians: a third of a turn makes red green."""
    third = jnp.full((3, 3), 1 / 3)
    cross = jnp.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / jnp.sqrt(3.0)
    turn = jnp.cos(angle) * jnp.eye(3) + (1 - jnp.cos(angle)) * third + jnp.sin(angle) * cross
    return jnp.clip(image @ turn.T, 0, 1)


def blurred(image: Image, sigma: Float[Array, ""]) -> Image:
    """A Gaussian of standard deviation `sigma` pixels, cut where it is nothing; the edge pixels go on outside."""
    rows, columns = (gaussian(side, sigma) for side in image.shape[:2])
    return jnp.einsum("hwc,yh,xw->yxc", image, rows, columns)


def gaussian(side: int, sigma: Float[Array, ""]) -> Float32[Array, "side side"]:
    """The matrix that blurs a line of `side` pixels."""
    place = jnp.arange(side)
    reach = jnp.arange(-side, 2 * side)
    weights = jnp.exp(-0.5 * ((place[:, None] - reach[None]) / jnp.maximum(sigma, 1e-3)) ** 2)
    weights /= weights.sum(axis=1, keepdims=True)
    inner = weights[:, side : 2 * side]
    return inner.at[:, 0].add(weights[:, :side].sum(axis=1)).at[:, -1].add(weights[:, 2 * side :].sum(axis=1))
