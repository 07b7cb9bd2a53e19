"""`Augment`: which random changes, how strong; and their application to a batch."""

import math
from dataclasses import dataclass, fields
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from jaxseg.augment.colour import blurred, brightened, contrasted, grey_of, hue_turned, saturated
from jaxseg.augment.mixing import mixed
from jaxseg.augment.shape import (
    Image,
    Mask,
    affine_places,
    elastic_places,
    identity_places,
    mirrored,
    resampled,
    transposed,
)
from jaxseg.errors import InputError


@dataclass(frozen=True)
class Augment:
    """Random changes of each training image, drawn anew each time it is seen; none of them by default.

    The mask follows the image, by its nearest pixel; what comes from outside is black and void. Strengths are drawn
    evenly between nothing and the number given, to both sides where there are two.

    Attributes:
        flip: probability of left and right being exchanged.
        flip_vertical: probability of top and bottom being exchanged.
        rotate90: turn by a random number of right angles; for square sizes only.
        zoom: from and to; 2 shows half of each side, anywhere in the picture; 0.5 shows it small, somewhere.
        rotate: degrees.
        shear: degrees.
        elastic: standard deviation of a smooth distortion, in pixels.
        elastic_knots: points in each direction at which the distortion is drawn.
        brightness: a share; 0.3 is 0.7 to 1.3 times as bright.
        contrast: a share of the distance from the mean grey.
        saturation: a share of the distance of colours from grey.
        hue: turn of the colours, as a share of a whole turn.
        grey: probability of an image without colours.
        blur: standard deviation of a Gaussian, in pixels.
        noise: standard deviation of noise, where white is 1.
        cutout: height and width of a black rectangle, as shares of the sides; the mask keeps what was there
            (DeVries and Taylor 2017, arXiv:1708.04552).
        cutmix: probability that a rectangle, of any size, shows another image of the batch, and the mask that one's.
        copy_paste: probability that the objects of another image of the batch, all its pixels of a class, are put in.
        probability: that an image is zoomed, rotated, sheared and distorted at all, and, drawn apart, that its colours
            change, blur, noise and cutout among them; so that a network sees pictures as they are, too.
    """

    flip: float = 0.0
    flip_vertical: float = 0.0
    rotate90: bool = False
    zoom: tuple[float, float] = (1.0, 1.0)
    rotate: float = 0.0
    shear: float = 0.0
    elastic: float = 0.0
    elastic_knots: int = 4
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    cutout: float = 0.0
    cutmix: float = 0.0
    copy_paste: float = 0.0
    probability: float = 1.0

    def check(self) -> None:
        """Raise an InputError that names the setting whose number lies outside its range."""
        for name in PROBABILITIES:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"augment.{name} is {getattr(self, name)}: give a share from 0 to 1.")
        for name in STRENGTHS:
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"augment.{name} is {getattr(self, name)}: give 0, for nothing, or more.")
        low, high = self.zoom
        if not 0 < low <= high < math.inf:
            raise InputError(f"augment.zoom is from {low} to {high}: give two numbers above 0, the smaller one first.")
        if self.elastic and self.elastic_knots < 2:
            raise InputError(f"augment.elastic_knots is {self.elastic_knots}: a distortion needs at least 2.")

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return any(getattr(self, f.name) != f.default for f in fields(self) if f.name not in HOW)

    def __call__(
        self,
        key: Array,
        images: Float[Array, "batch height width channels"],
        masks: UInt8[Array, "batch height width"],
    ) -> tuple[Float[Array, "batch height width channels"], UInt8[Array, "batch height width"]]:
        """Images in 0..1 and their masks; each by a key of its own, made from `key` and its place in the batch.

        Only where images are mixed does one depend on the others. That is between the changes of shape and of colour.
        """
        if not self.changes:
            return images, masks
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(images)))
        shape, colour = jax.vmap(jax.random.split, out_axes=1)(keys)
        images, masks = jax.vmap(self.reshaped)(shape, images, masks)
        if self.cutmix or self.copy_paste:
            mixes = jax.vmap(jax.random.fold_in, (0, None))(keys, MIXES)
            images, masks = mixed(mixes, images, masks, cutmix=self.cutmix, copy_paste=self.copy_paste)
        # XLA would otherwise fetch the pixels anew for each colour operation: nearly three times as slow on a CPU.
        images, masks = jax.lax.optimization_barrier((images, masks))
        return jax.vmap(self.recoloured)(colour, images), masks

    def reshaped(self, key: Array, image: Image, mask: Mask) -> tuple[Image, Mask]:
        flips, swaps, zooms, turns, leans, shifts, fields_ = jax.random.split(key, 7)
        across, down = jax.random.uniform(flips, (2,)) < jnp.array([self.flip, self.flip_vertical])
        if self.rotate90:
            swap, *turned = jax.random.bernoulli(swaps, 0.5, (3,))
            image, mask = transposed(image, mask, swap)
            across, down = across ^ turned[0], down ^ turned[1]
        if self.flip or self.flip_vertical or self.rotate90:
            image, mask = mirrored(image, mask, across, down)
        affine = self.zoom != (1.0, 1.0) or self.rotate or self.shear
        if not affine and not self.elastic:
            return image, mask
        places = identity_places(*mask.shape)
        if self.elastic:
            places = elastic_places(fields_, places, self.elastic, self.elastic_knots)
        if affine:
            # Evenly in the logarithm, so that twice as large is as frequent as half as large.
            low, high = (math.log(end) for end in self.zoom)
            zoom = jnp.exp(jax.random.uniform(zooms, minval=low, maxval=high))
            angle = math.radians(self.rotate) * symmetric(turns)
            shear = math.radians(self.shear) * symmetric(leans)
            free = jnp.abs(1 - 1 / zoom) / 2 * jnp.array(mask.shape)
            places = affine_places(places, zoom, angle, shear, free * symmetric(shifts, (2,)))
        moved = resampled(image, mask, places)
        return jax.tree.map(partial(jnp.where, self.drawn(key)), moved, (image, mask))

    def drawn(self, key: Array) -> Bool[Array, ""]:
        """Whether the changes of this key are applied."""
        return jax.random.bernoulli(jax.random.fold_in(key, DRAWN), self.probability)

    def recoloured(self, key: Array, image: Image) -> Image:
        before = image
        bright, contrast, saturation, hue, greys, blurs, noises, sizes, places = jax.random.split(key, 9)
        if self.brightness:
            image = brightened(image, 1 + self.brightness * symmetric(bright))
        if self.contrast:
            image = contrasted(image, 1 + self.contrast * symmetric(contrast))
        if image.shape[-1] == 3:
            if self.saturation:
                image = saturated(image, 1 + self.saturation * symmetric(saturation))
            if self.hue:
                image = hue_turned(image, 2 * math.pi * self.hue * symmetric(hue))
            if self.grey:
                image = jnp.where(jax.random.bernoulli(greys, self.grey), grey_of(image), image)
        if self.blur:
            image = blurred(image, self.blur * jax.random.uniform(blurs))
        if self.noise:
            level, noise = jax.random.split(noises)
            amount = self.noise * jax.random.uniform(level)
            image = jnp.clip(image + amount * jax.random.normal(noise, image.shape), 0, 1)
        if self.cutout:
            sides = jnp.array(image.shape[:2])
            size = self.cutout * jax.random.uniform(sizes, (2,)) * sides
            start = jax.random.uniform(places, (2,)) * (sides - size)
            rows, columns = (jnp.arange(side) for side in image.shape[:2])
            cut = [
                (at >= begin) & (at < begin + length)
                for at, begin, length in zip((rows, columns), start, size, strict=True)
            ]
            image = jnp.where((cut[0][:, None] & cut[1][None])[..., None], 0, image)
        return image if image is before else jnp.where(self.drawn(key), image, before)


PROBABILITIES = ("flip", "flip_vertical", "grey", "cutout", "cutmix", "copy_paste", "probability")
"""Settings from 0 to 1."""

STRENGTHS = ("rotate", "shear", "elastic", "brightness", "contrast", "saturation", "hue", "blur", "noise")
"""Settings from 0 on."""

HOW = ("elastic_knots", "probability")
"""Settings that alone change nothing."""

MIXES = 2
"""Of an image's keys: 0 and 1 are those of shape and colour."""

DRAWN = 100
"""Of the keys of shape and of colour: that of whether they are used."""

NOTHING = Augment()
"""The default."""


def symmetric(key: Array, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
    """Evenly in -1..1."""
    return jax.random.uniform(key, shape, minval=-1, maxval=1)
