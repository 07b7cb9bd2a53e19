"""What a data set holds, as far as a config depends on it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from jaxseg.data.coco import Annotation, CocoIndex, read_index
from jaxseg.data.geometry import place
from jaxseg.data.images import decided, read_image
from jaxseg.data.layout import image_path
from jaxseg.data.samples import Data, Samples, locate, open_split
from jaxseg.errors import DataError, InputError

LOOKED_AT = 400  # images whose objects are measured
OPENED = 24  # images whose colours are looked at


@dataclass(frozen=True)
class Survey:
    """Of the training images, if not said otherwise.

    Attributes:
        data: the settings by which the data set is found.
        val_fraction: of the training file, for validation; 0 where there are validation annotations.
        why_fraction: why there are none.
        images: how many, after that.
        holding: by the name of each category, the images that hold it; the most frequent first, also those without.
        sizes: height and width of each image.
        grey: whether all pictures that were opened have no colours; None if none could be opened.
    """

    data: Data
    val_fraction: float
    why_fraction: str
    images: int
    holding: dict[str, set[int]]
    sizes: Int[np.ndarray, "images 2"]
    grey: bool | None

    @property
    def size(self) -> tuple[int, int]:
        """The median height and width."""
        height, width = np.median(self.sizes, axis=0)
        return int(height), int(width)

    def without(self, classes: Iterable[str]) -> float:
        """The share of the images that hold none of these."""
        return 1 - len(set().union(*(self.holding[name] for name in classes))) / self.images


def survey(data: Data) -> Survey:
    """Look at the training annotations, and at some pictures.

    Raises:
        InputError: if there is no training file that can be used, or it has fewer than two images.
    """
    files, _ = locate(data, "train")
    index = read_index(files.json)
    if len(index) < 2:
        raise InputError(f"{files.json} has {len(index)} usable images: at least two are needed, one to validate on.")
    fraction, why = (data.val_fraction, "") if data.val_fraction else fraction_needed(data, len(index))
    data = replace(data, val_fraction=fraction)
    samples = open_split(replace(data, classes=None, mode="binary", negatives=None), "train")
    within = samples.sampling.positives
    holding = images_holding(index, within)
    names = dict.fromkeys(category.name for category in index.categories)
    ordered = {name: holding.get(name, set()) for name in sorted(names, key=lambda n: -len(holding.get(n, ())))}
    sizes = np.stack([index.image_height[within], index.image_width[within]], axis=1)
    return Survey(data, fraction, why, len(within), ordered, sizes, is_grey(samples))


def fraction_needed(data: Data, images: int) -> tuple[float, str]:
    """The share of the training images to validate on, with the reason; 0 where validation annotations can be used."""
    try:
        open_split(replace(data, classes=None, negatives=None), "val")
    except DataError as error:
        if data.val_json is not None:
            raise
        missing = "there are no validation annotations"
        reason = missing if "no instances_val" in str(error) or "not given" in str(error) else f"not usable: {error}"
        fraction = 0.2 if images < 1000 else 0.1
        return max(fraction, round(1 / images, 4)), reason.splitlines()[0]
    return 0.0, ""


def images_holding(index: CocoIndex, positions: Int[np.ndarray, " images"]) -> dict[str, set[int]]:
    """By category name, the positions of the images that hold it."""
    owner = np.repeat(np.arange(len(index)), np.diff(index.annotation_offsets))
    used = np.isin(owner, positions) & (index.annotation_category >= 0) & ~index.annotation_empty
    pairs = np.unique(np.stack([index.annotation_category[used], owner[used]], axis=1), axis=0)
    found: dict[str, set[int]] = {}
    for category, position in pairs.tolist():
        found.setdefault(index.categories[category].name, set()).add(position)
    return found


def is_grey(samples: Samples) -> bool | None:
    """Whether pictures, evenly spread, have no colours; those that can't be read are passed over."""
    seen = 0
    for position in spread(samples.positions, OPENED):
        placement, decoder = place((full := samples.placement(int(position)).full), small(full), "stretch"), "pillow"
        try:
            path = image_path(samples.files.images, samples.index.file_name(int(position)))
            picture = read_image(path, placement=placement, channels=3, decoder=decided(decoder)).astype(int)
        except (DataError, OSError):
            continue
        seen += 1
        if np.abs(picture - picture.mean(axis=2, keepdims=True)).max() > 3:  # JPEG rounds colours
            return False
    return True if seen else None


def small(full: tuple[int, int]) -> tuple[int, int]:
    height, width = (max(1, min(64, side)) for side in full)
    return height, width


def object_sides(samples: Samples) -> Float[np.ndarray, " objects"]:
    """The square root of height x width of each object's box in pixels at full size, in images evenly spread."""
    chosen = samples.table.lookup(samples.index) > 0
    sides: list[float] = []
    for position in spread(samples.positions, LOOKED_AT):
        height = int(samples.index.image_height[position])
        for annotation in samples.index.annotations(int(position)):
            if annotation.category >= 0 and chosen[annotation.category] and not annotation.crowd:
                sides += extents(annotation, height)
    return np.array(sides, float)


def extents(annotation: Annotation, height: int) -> Iterator[float]:
    """Of an object that has an outline, one number."""
    if annotation.polygons:
        points = np.concatenate([polygon.reshape(-1, 2) for polygon in annotation.polygons])
        low, high = points.min(axis=0), points.max(axis=0)
        yield float(np.sqrt(np.prod(high - low)))
    elif annotation.rle is not None and (inside := int(annotation.rle[1::2].sum())):
        yield float(np.sqrt(inside))


def spread(positions: Int[np.ndarray, " images"], most: int) -> Int[np.ndarray, " chosen"]:
    """At most so many, evenly."""
    return positions[:: -(-len(positions) // most)]
