"""Some images of a split with their masks, to look at."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxseg.arrays import VOID
from jaxseg.check.entries import Table
from jaxseg.data.classes import ClassTable, images_with
from jaxseg.data.geometry import Placement
from jaxseg.data.images import decided, read_image
from jaxseg.data.layout import image_path
from jaxseg.data.masks import draw_mask
from jaxseg.data.settings import Data
from jaxseg.errors import DataError
from jaxseg.pictures import overlay

SIDE = 420  # pixels of the longer side
TRIES = 4  # images looked at for each that is wanted: some can't be read


class Sample(NamedTuple):
    """A picture with its mask over it, and the classes that are in it."""

    image_id: int
    picture: UInt8[np.ndarray, "height width 3"]
    classes: tuple[tuple[int, str], ...]


def draw_some(table: Table, folder: Path, classes: ClassTable, data: Data, count: int) -> Iterator[Sample]:
    """Images with objects, spread over the split."""
    index, lookup = table.index, classes.lookup(table.index)
    positions = images_with(index, classes)
    places = np.unique(np.linspace(0, len(positions) - 1, min(len(positions), TRIES * count)).astype(int))
    places = np.concatenate([places[start::TRIES] for start in range(TRIES)])  # those first that are far apart
    drawn = 0
    for position in positions[places].tolist():
        full = int(index.image_height[position]), int(index.image_width[position])
        scale = SIDE / max(full)
        inner = (max(1, round(full[0] * scale)), max(1, round(full[1] * scale)))
        placement = Placement(full, inner, (0, 0), inner)
        try:
            path = image_path(folder, index.file_name(position))
            image = read_image(path, placement=placement, channels=3, decoder=decided(data.decoder))
        except DataError:
            continue
        mask = draw_mask(index.annotations(position), lookup, data.rules, placement)
        labels = [label for label in np.unique(mask).tolist() if 0 < label < VOID]
        named = tuple((label, classes.names[label]) for label in labels)
        yield Sample(int(index.image_id[position]), overlay(image, mask), named)
        drawn += 1
        if drawn == count:
            return
