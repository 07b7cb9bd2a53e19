"""Random changes of where things are, to image and mask alike."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Bool, Float, Float32, UInt8

from jaxseg.arrays import VOID

Image = Float[Array, "height width channels"]
Mask = UInt8[Array, "height width"]
Places = Float32[Array, "2 height width"]


def mirrored(image: Image, mask: Mask, across: Bool[Array, ""], down: Bool[Array, ""]) -> tuple[Image, Mask]:
    """Left to right if `across`, top to bottom if `down`."""
    for axis, flip in ((1, across), (0, down)):
        image, mask = (jnp.where(flip, jnp.flip(a, axis), a) for a in (image, mask))
    return image, mask


def transposed(image: Image, mask: Mask, swap: Bool[Array, ""]) -> tuple[Image, Mask]:
    """Rows and columns swapped, of a square image; with the mirrors it makes all right-angle rotations."""
    return jnp.where(swap, image.swapaxes(0, 1), image), jnp.where(swap, mask.T, mask)


def identity_places(height: int, width: int) -> Places:
    """Row and column of each pixel, where it is taken from."""
    return jnp.stack(jnp.meshgrid(jnp.arange(height, dtype=jnp.float32), jnp.arange(width), indexing="ij"))


def affine_places(
    places: Places,
    zoom: Float[Array, ""],
    angle: Float[Array, ""],
    shear: Float[Array, ""],
    shift: Float[Array, "2"],
) -> Places:
    """Where the pixels of the zoomed, turned, sheared and shifted picture are taken from.

    Args:
        places: of the pixels.
        zoom: 2 shows half of each side.
        angle: radians, counter-clockwise.
        shear: radians; columns lean by its tangent.
        shift: rows and columns, in pixels of the source.
    """
    centre = (jnp.array(places.shape[1:]) - 1.0)[:, None, None] / 2
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.array([[cos, sin], [-sin, cos]])
    lean = jnp.array([[1.0, 0.0], [jnp.tan(shear), 1.0]])
    moved = jnp.einsum("ij,jhw->ihw", turn @ lean / zoom, places - centre)
    return moved + centre + shift[:, None, None]


def elastic_places(key: Array, places: Places, strength: float, knots: int) -> Places:
    """Places moved by a smooth field: random steps at knots x knots points, cubic between.

    The steps have a standard deviation of `strength` pixels. After Simard et al. 2003, with splines in place of the
    Gaussian, as Ronneberger et al. 2015 do.
    """
    steps = strength * jax.random.normal(key, (2, knots, knots))
    return places + jax.image.resize(steps, places.shape, "cubic")


def resampled(image: Image, mask: Mask, places: Places) -> tuple[Image, Mask]:
    """What lies at these places: the image linearly between pixels, the mask at the nearest; outside 0 and void."""
    sides = jnp.array(mask.shape)[:, None, None]
    inside = ((places >= -0.5) & (places <= sides - 0.5)).all(axis=0)
    near = jnp.clip(jnp.round(places).astype(jnp.int32), 0, sides - 1)
    between: Any = jax.vmap(lambda channel: map_coordinates(channel, list(places), 1, "nearest"), -1, -1)
    found = jnp.where(inside[..., None], between(image), 0)
    return found, jnp.where(inside, mask[near[0], near[1]], jnp.uint8(VOID))
