"""Settings of the training that suit a data set and a device, each with its reason."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from jaxseg.config import Config
from jaxseg.data.room import told
from jaxseg.errors import InputError, counted
from jaxseg.fitting import needed
from jaxseg.footprint import room_of
from jaxseg.losses import CrossEntropy, Loss, Sum
from jaxseg.models.unet import UNet
from jaxseg.sharding import data_parallel
from jaxseg.suggesting import recipe
from jaxseg.suggesting.choices import Choice

SIDED = re.compile(r"(?<![a-z])(left|right|links|rechts|gauche|droite)(?![a-z])", re.IGNORECASE)
"""Names that a mirror would make wrong."""


def batch(samples: int | float) -> Choice:
    """The recipe's batch size; of few images, what they allow."""
    size = 2 ** int(math.log2(max(1.0, min(recipe.BATCH, samples))))
    if size == recipe.BATCH:
        return Choice("batch_size", size, "enough for stable statistics of batch normalisation")
    return Choice("batch_size", size, f"an epoch has only {counted(int(samples), 'sample')}")


def network(config: Config, poolings: int, platform: str) -> Iterator[Choice]:
    """The widest network, and the largest batch, of which a training step fits into the device's memory.

    Raises:
        InputError: if not even a batch of one fits.
    """
    room = room_of(data_parallel(1))
    widest = recipe.WIDTHS.get(platform, recipe.WIDTH)
    for size in halved(config.batch_size):
        for width in widest:
            widths = tuple(width << level for level in range(poolings + 1))
            model = UNet(widths, config.model.out_channels, recipe.NORM)
            step = needed(replace(config, batch_size=size, model=model), data_parallel(size))
            if step <= room.usable:
                why = "as wide as is trained in reasonable time" if width == widest[0] else "wider ones would not fit"
                levels = f"{counted(len(widths), 'level')}, as the size allows; {why}"
                told_step = f"a step takes {told(step)} of memory, which fits"
                yield Choice("model", model.clone(out_channels=None), f"{levels}; {told_step}")
                if size < config.batch_size:
                    yield Choice("batch_size", size, "a larger one would not fit into memory")
                return
    raise InputError(
        f"No network of this kind fits into the memory of {told(room.size)} that {room.name}, at {config.data.height} "
        f"x {config.data.width}: give smaller --data.height and --data.width."
    )


def halved(size: int) -> Iterator[int]:
    while size:
        yield size
        size //= 2


def share_of(pixels: Int64[np.ndarray, " classes"]) -> float:
    """The foreground's share; 0 without pixels."""
    return 1 - int(pixels[0]) / int(pixels.sum()) if pixels.sum() else 0.0


def loss(pixels: Int64[np.ndarray, " classes"]) -> Choice:
    """The recipe's terms; the foreground weighs more where it is rare."""
    share = share_of(pixels)
    terms: Loss = Sum(recipe.TERMS)
    why = f"the foreground is {share:.1%} of the pixels: it need not weigh more, but misses do (Tversky)"
    if 0 < share < recipe.RARE:
        weight = round(math.sqrt((1 - share) / share), 1)
        weighted = tuple(replace(t, pos_weight=weight) if isinstance(t, CrossEntropy) else t for t in recipe.TERMS)
        terms = Sum(weighted)
        why = (
            f"the foreground is only {share:.2%} of the pixels, so each weighs {weight:g}: the root of background over "
            "foreground, for the whole ratio costs precision"
        )
    return Choice("loss", terms, why)


def augment(names: Sequence[str], channels: int) -> Choice:
    """The recipe's changes, as far as they leave the masks right."""
    chosen, reasons = (
        recipe.AUGMENT,
        ["a photograph is as likely mirrored, nearer or brighter; half are moved, half recoloured"],
    )
    if sided := [name for name in names if SIDED.search(name.replace("_", " "))]:
        chosen = replace(chosen, flip=0.0)
        reasons = [f"no flips: they would make {sided[0]!r} wrong"]
    if channels == 1:
        chosen = replace(chosen, saturation=0.0, hue=0.0, grey=0.0)
        reasons.append("no colours to change")
    reasons.append("add flip_vertical=True and rotate90=True where there is no up, as from above or in a microscope")
    return Choice("augment", chosen, "; ".join(reasons))


def epochs(steps: int) -> Choice:
    """As many as make the recipe's number of steps, within bounds."""
    least, most = recipe.EPOCHS
    number = min(most, max(least, round(recipe.STEPS / steps)))
    bound = {least: f"; {least} at least", most: f"; {most} at most"}.get(number, "")
    return Choice(
        "epochs",
        number,
        f"{counted(number * steps, 'step')} of {steps:,} an epoch; about {recipe.STEPS:,} are enough{bound}",
    )


def constant() -> Iterator[Choice]:
    """What depends on the recipe alone."""
    yield Choice("optimizer", recipe.OPTIMIZER, "of the recipe; for other batches, the rate by the root of their size")
    yield Choice("schedule", recipe.SCHEDULE, "of the recipe: a warm-up, and an end at nearly no learning rate")
