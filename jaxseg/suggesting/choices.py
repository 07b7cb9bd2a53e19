"""From what a data set holds to settings of its data, each with its reason."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxseg.arrays import MAX_CLASSES
from jaxseg.check.findings import plain
from jaxseg.data.room import memory_left, told
from jaxseg.errors import InputError, counted
from jaxseg.suggesting import recipe
from jaxseg.suggesting.survey import Survey

NAMED = 8  # names in a reason


class Choice(NamedTuple):
    """A setting by its dotted name, its value, and why."""

    setting: str
    value: Any
    reason: str


class Size(NamedTuple):
    """What the network sees: its height and width, the poolings it allows, and the windows, if any, it is cut in.

    `crop` is what a picture's sides are multiplied by before windows are cut; None: the whole picture is seen.
    """

    height: int
    width: int
    poolings: int
    crop: float | None
    crops: int


def splits(survey: Survey) -> Iterator[Choice]:
    """Where the validation images come from."""
    if survey.val_fraction:
        why = survey.why_fraction or "as given"
        yield Choice("data.val_fraction", survey.val_fraction, f"{why}: this share of the training images validates")


def classes(survey: Survey) -> Iterator[Choice]:
    """Which classes, and how many images without any.

    Raises:
        InputError: if nothing is annotated.
    """
    most, share = recipe.LEAST_HOLDING
    least = max(1, min(most, math.floor(share * survey.images)))
    images = {name: len(holding) for name, holding in survey.holding.items()}
    learned = [name for name in images if images[name] >= least] or [name for name in images if images[name]]
    if not learned:
        raise InputError("Nothing is annotated in the training images: there is nothing to learn.")
    learned = learned[:MAX_CLASSES]
    rare = [name for name in images if images[name] and name not in learned]
    absent = [name for name in images if not images[name]]
    empty = survey.without(learned)
    if not (rare or absent or empty > recipe.MOST_EMPTY):
        yield Choice("data.classes", None, f"all {len(learned)}, and every image: {listed(learned, images)}")
        return
    reasons = [f"held by {counted(least, 'training image')} or more"]
    reasons += [f"left out, as too rare to be learned: {listed(rare, images)}"] if rare else []
    reasons += [f"left out, as nothing is annotated: {listed(absent, images)}"] if absent else []
    yield Choice("data.classes", tuple(learned), "; ".join(reasons))
    if empty > 0:
        cut = f"; no more than {recipe.MOST_EMPTY:.0%} of an epoch" if empty > recipe.MOST_EMPTY else ""
        why = f"{empty:.1%} of the training images show none of these: they teach what is background{cut}"
        yield Choice("data.negatives", round(min(empty, recipe.MOST_EMPTY), 3), why)


def mode(classes: int) -> Iterator[Choice]:
    """One class, or several."""
    if classes > 1:
        yield Choice("data.mode", "multiclass", f"{classes} classes, told apart")
        yield Choice("data.overlap", "smallest_on_top", "where objects overlap, the smaller one mostly is in front")
    else:
        yield Choice("data.mode", "binary", "one class against the background")


def listed(names: list[str], images: dict[str, int]) -> str:
    first = ", ".join(f"{plain(name)} ({images[name]:,})" for name in names[:NAMED])
    return first + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def channels(survey: Survey) -> Choice:
    """Colours or not."""
    if survey.grey:
        return Choice("data.channels", 1, "the pictures that were opened have no colours")
    why = "no picture could be opened" if survey.grey is None else "the pictures have colours"
    return Choice("data.channels", 3, why)


def best_size(full: tuple[int, int], sides: Float[np.ndarray, " objects"], side: int) -> Size:
    """The whole picture in about side x side pixels; or windows of it, where its objects would be too small to see."""
    height, width = full
    scale = min(1.0, side / math.sqrt(height * width))
    object_side = float(np.percentile(sides, 25)) if len(sides) else math.inf
    crop = min(1.0, recipe.SEEN / object_side) if object_side else 1.0
    if crop * min(1.0, height / side, width / side) < 1.5 * scale:  # little is gained, or a window is the picture
        return Size(*rounded(height * scale, width * scale), None, 1)
    rows, columns, poolings = rounded(min(side, height * crop), min(side, width * crop))
    windows = math.ceil(height * crop / rows) * math.ceil(width * crop / columns)
    return Size(rows, columns, poolings, round(crop, 3), min(windows, recipe.MOST_CROPS))


def rounded(height: int | float, width: int | float) -> tuple[int, int, int]:
    """Sides that can be halved as often as the levels want, or as small sides allow, and how often that is."""
    short = min(height, width)
    poolings = max(1, min(recipe.LEVELS - 1, int(math.log2(max(2.0, short / recipe.COARSEST)))))
    stride = 2**poolings
    rows, columns = (max(2, round(length / stride)) * stride for length in (height, width))
    return rows, columns, poolings


def halvings(height: int, width: int) -> int:
    """How often given sides can be halved, as far as the network wants."""
    both = math.gcd(height, width)
    possible = (both & -both).bit_length() - 1
    useful = int(math.log2(max(1.0, min(height, width) / recipe.COARSEST)))
    return max(0, min(recipe.LEVELS - 1, possible, useful))


def sizes(
    survey: Survey, size: Size, sides: Float[np.ndarray, " objects"], platform: str, foreground: float
) -> Iterator[Choice]:
    """Height, width, and windows."""
    height, width = survey.size
    typical = f"a typical picture has {height} x {width} pixels (height x width)"
    quarter = f"a quarter of the objects have sides below {np.percentile(sides, 25):.0f}" if len(sides) else "no object"
    stride = f"multiples of {2**size.poolings}, for {counted(size.poolings, 'pooling')}"
    where = f"what a {platform} trains in reasonable time"
    if size.crop is None:
        yield Choice(
            "data.height", size.height, f"{typical}; about {side_of(platform)}^2 pixels at most are {where}; {stride}"
        )
        yield Choice("data.width", size.width, "as the height")
        return
    yield Choice("data.height", size.height, f"windows, as {where}; {stride}")
    yield Choice("data.width", size.width, "as the height")
    why = f"{typical}, and {quarter}: the whole picture made so small would hide them"
    yield Choice("data.crop", size.crop, why)
    if foreground < recipe.SPARSE:
        why = f"the foreground is {foreground:.1%} of the pixels: many windows would show none"
        yield Choice("data.crop_foreground", recipe.CROP_FOREGROUND, why)
    yield Choice("data.crops", size.crops, "so many windows cover a picture, or enough of it for an epoch")


def side_of(platform: str) -> int:
    return recipe.SIDES.get(platform, recipe.SIDE)


def cache(survey: Survey, height: int, width: int, channels: int, cropped: bool) -> Iterator[Choice]:
    """Decoded images in memory, where they fit."""
    needed = survey.images * height * width * (channels + 1)
    if not cropped and needed <= recipe.CACHED and needed < memory_left() / 4:
        yield Choice("data.cache", "memory", f"all training images decoded are {told(needed)}: each is decoded once")
