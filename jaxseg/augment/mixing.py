"""Parts of one image of a batch put into another, masks along with them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, UInt8

from jaxseg.arrays import VOID

Images = Float[Array, "batch height width channels"]
Masks = UInt8[Array, "batch height width"]


def partner(key: Array, place: Int32[Array, ""], size: int) -> Int32[Array, ""]:
    """The place in the batch of another image, each as likely; of a batch of one, the same."""
    return (place + jax.random.randint(key, (), 1, max(2, size))) % size


def rectangle(key: Array, height: int, width: int) -> Bool[Array, "height width"]:
    """A rectangle of the picture's proportions and of evenly any share of its area, its middle anywhere; cut outside.

    As CutMix has it, with lambda from Beta(1, 1) (Yun et al. 2019, arXiv:1905.04899); for segmentation, French et al.
    2020, arXiv:1906.01916.
    """
    area, middles = jax.random.split(key)
    side = jnp.sqrt(jax.random.uniform(area))
    middle = jax.random.uniform(middles, (2,))
    inside = [
        jnp.abs((jnp.arange(room) + 0.5) / room - centre) <= side / 2
        for room, centre in zip((height, width), middle, strict=True)
    ]
    return inside[0][:, None] & inside[1][None]


def mixed(keys: Array, images: Images, masks: Masks, *, cutmix: float, copy_paste: float) -> tuple[Images, Masks]:
    """Each image with a rectangle, by the probability `cutmix`, and then with the objects, by `copy_paste`, of another.

    Objects are all pixels of a class (the simple copy-paste of Ghiasi et al. 2021, arXiv:2012.07177, which pastes
    objects of images that were flipped and scaled before; without its random choice among them). What is taken is taken
    from the images as they are given.
    """
    size, height, width = masks.shape

    def one(key: Array, place: Int32[Array, ""]) -> tuple[Float[Array, "height width channels"], UInt8[Array, "_ _"]]:
        whether, boxes, *others = jax.random.split(key, 4)
        due = jax.random.uniform(whether, (2,)) < jnp.array([cutmix, copy_paste])
        image, mask = images[place], masks[place]
        if cutmix:
            other = partner(others[0], place, size)
            image, mask = put_in(image, mask, images[other], masks[other], due[0] & rectangle(boxes, height, width))
        if copy_paste:
            other = partner(others[1], place, size)
            objects = (masks[other] != 0) & (masks[other] != VOID)
            image, mask = put_in(image, mask, images[other], masks[other], due[1] & objects)
        return image, mask

    return jax.vmap(one)(keys, jnp.arange(size))


def put_in(
    image: Float[Array, "height width channels"],
    mask: UInt8[Array, "height width"],
    other: Float[Array, "height width channels"],
    other_mask: UInt8[Array, "height width"],
    where: Bool[Array, "height width"],
) -> tuple[Float[Array, "height width channels"], UInt8[Array, "height width"]]:
    """The other image and its mask at these pixels."""
    return jnp.where(where[..., None], other, image), jnp.where(where, other_mask, mask)
