"""A picture of every augmentation at three strengths, image and mask, on an image of a data set."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxseg.arrays import VOID
from jaxseg.augment import Augment
from jaxseg.augment.strengths import ON_OFF, STRENGTHS
from jaxseg.config import Config
from jaxseg.data.layout import Split
from jaxseg.data.samples import Samples, open_split
from jaxseg.data.windows import Chance
from jaxseg.errors import InputError
from jaxseg.progress import progress_bar
from jaxseg.sheets import save_samples

DRAWS = 8
"""Of which the one that changes the image most is shown: strengths are drawn evenly from nothing on."""
TOGETHER = 4
"""Images in the batch: what is mixed in comes from the others."""
LOOKED_AT = 24
"""Samples, of which the batch is chosen."""
BEST_SHARE = 0.3
"""Of foreground in the image that is changed: enough to see what becomes of it."""
OWN = "this config"


class Shown(NamedTuple):
    """A picture with its mask and what was done."""

    image: UInt8[np.ndarray, "height width channels"]
    mask: UInt8[np.ndarray, "height width"]
    caption: str


def draw_augmentations(config: Config, out: Path, split: Split = "train") -> Path:
    """Write `augmentations.png`: each operation's original, weak, medium and strong picture side by side.

    Of the config's own augmentation, if it has one, three draws as training would make them.

    Raises:
        InputError: if the data can't be used, or no image can be read.
    """
    samples = open_split(config.data, split)
    images, masks = batch_of(samples, config.seed)
    names = [name for name in STRENGTHS if name != "rotate90" or images.shape[1] == images.shape[2]]
    shown: list[Shown] = []
    with progress_bar(len(names) + config.augment.changes, "augmentations") as bar:
        for name in names:
            shown += row_of(name, [Augment(**{name: value}) for value in STRENGTHS[name]], images, masks)
            bar.update()
        if config.augment.changes:
            shown += row_of(OWN, [config.augment] * 3, images, masks)
            bar.update()
    path, names = out / "augmentations.png", samples.table.names[1:]
    pictures, labels, captions = zip(*shown, strict=True)
    save_samples(path, pictures, labels, class_names=names, captions=captions, columns=8)
    print(f"{path}: {len(shown) // 4} rows of original, weak, medium, strong.")
    return path


def batch_of(
    samples: Samples, seed: int
) -> tuple[UInt8[np.ndarray, "batch height width channels"], UInt8[np.ndarray, "batch height width"]]:
    """Images that can be read; the first is that whose foreground is seen best."""
    found = []
    for place in np.unique(np.linspace(0, len(samples) - 1, LOOKED_AT).round().astype(int)):
        window = None if samples.data.crop is None else Chance(seed, 0, int(place))
        sample = samples.at(int(samples.positions[place]), window=window)
        if sample["weight"]:
            found.append(sample)
    if not found:
        raise InputError(f"none of the images chosen from {samples.files.images} can be read.")
    found.sort(key=lambda s: abs(float(((s["mask"] > 0) & (s["mask"] != VOID)).mean()) - BEST_SHARE))
    return np.stack([s["image"] for s in found[:TOGETHER]]), np.stack([s["mask"] for s in found[:TOGETHER]])


def row_of(
    name: str,
    augments: list[Augment],
    images: UInt8[np.ndarray, "batch height width channels"],
    masks: UInt8[np.ndarray, "batch height width"],
) -> list[Shown]:
    """The first image, and what becomes of it: by each of the settings, or by one at several draws."""
    several = name in ON_OFF or name == OWN
    scaled, labels = jnp.asarray(images, jnp.float32) / 255, jnp.asarray(masks)
    changed = [drawn(augments[0], scaled, labels)] * 3 if several else [drawn(a, scaled, labels) for a in augments]
    shown = [Shown(images[0], masks[0], f"{name}: original")]
    for number, (augment, draws) in enumerate(zip(augments, changed, strict=True)):
        found, their = map(np.asarray, draws)
        changes = np.abs(found - images[0] / 255).mean(axis=(1, 2, 3)) + (their != masks[0]).mean(axis=(1, 2))
        place = number if several else int(changes.argmax())
        strength = "draw" if several else f"{getattr(augment, name)}"
        shown.append(Shown((found[place] * 255 + 0.5).astype(np.uint8), their[place], f"{name}: {strength}"))
    return shown


def drawn(
    augment: Augment, images: Float[Array, "batch height width channels"], masks: UInt8[Array, "batch height width"]
) -> tuple[Float[Array, "draws height width channels"], UInt8[Array, "draws height width"]]:
    """The first image at several draws; the others are needed only where it is mixed with them."""
    if not (augment.cutmix or augment.copy_paste):
        images, masks = images[:1], masks[:1]

    def one(key: Array) -> tuple[Array, Array]:
        found, labels = augment(key, images, masks)
        return found[0], labels[0]

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), DRAWS))
