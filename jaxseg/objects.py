"""The annotated objects of an image by their size, and how much of each is found."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from jaxseg.arrays import VOID
from jaxseg.data.geometry import Placement
from jaxseg.data.masks import area, label_of, region
from jaxseg.data.samples import Samples

AREAS = (32**2, 96**2)
SIZES = ("small", "medium", "large")
"""COCO's: below 32 x 32 pixels of the original picture, below 96 x 96, and above."""


class Drawn(NamedTuple):
    """An object: its class, its pixels in the original picture, and where it lies at the size that is looked at."""

    label: int
    area: int
    mask: Bool[np.ndarray, "height width"]


def drawn_objects(samples: Samples, position: int, placement: Placement) -> Iterator[Drawn]:
    """The annotations that are drawn as a class; crowd regions are no objects."""
    rules = samples.data.rules
    for annotation in samples.index.annotations(position):
        label = label_of(annotation, samples.lookup, rules)
        if label in (0, VOID) or annotation.crowd:
            continue
        mask = region([annotation], rules.rasterize, placement.full, placement.inner)
        yield Drawn(label, area(annotation, placement.full), mask)


def count_objects(
    objects: Iterable[Drawn], truth: UInt8[np.ndarray, "height width"], prediction: UInt8[np.ndarray, "height width"]
) -> Int64[np.ndarray, "sizes 4"]:
    """For small, medium and large: objects, those found, their pixels, and the pixels predicted as their class.

    An object's pixels are those that the drawn mask gives to its class; one of which none is left, since others lie
    over it, does not count. It is found if at least half of its pixels are predicted as its class.
    """
    counts = np.zeros((len(SIZES), 4), np.int64)
    right = truth == prediction
    for drawn in objects:
        visible = drawn.mask & (truth == drawn.label)
        pixels, hit = np.count_nonzero(visible), np.count_nonzero(visible & right)
        if pixels:
            counts[np.searchsorted(AREAS, drawn.area, side="right")] += (1, 2 * hit >= pixels, pixels, hit)
    return counts
