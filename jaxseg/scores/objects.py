"""The annotated objects of an image by their size, and how much of each is found."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from pycocotools import mask as coco_mask

from jaxseg.arrays import VOID
from jaxseg.data.coco import Annotation
from jaxseg.data.geometry import Placement
from jaxseg.data.masks import label_of, region, rles
from jaxseg.data.samples import Samples

AREAS = (32**2, 96**2)
SIZES = ("small", "medium", "large")
"""COCO's: below 32 x 32 pixels of the original picture, below 96 x 96, and above."""
Runs = Any
"""A mask in pycocotools' form."""


class Drawn(NamedTuple):
    """An object: its class, its pixels in the original picture, and its run lengths at the size that is looked at."""

    label: int
    area: int
    runs: Runs


def encode(mask: Bool[np.ndarray, "height width"]) -> Runs:
    """A mask as COCO's run lengths, by which many objects of one picture are compared quickly."""
    return coco_mask.encode(np.asfortranarray(mask).view(np.uint8))


def whole(annotation: Annotation, full: tuple[int, int]) -> Runs | None:
    """An annotation's run lengths at full size; None if nothing of it can be drawn."""
    parts = rles(annotation, full)
    return coco_mask.merge(parts) if parts else None


def drawn_objects(samples: Samples, position: int, placement: Placement) -> Iterator[Drawn]:
    """The annotations that are drawn as a class; crowd regions are no objects."""
    rules, full = samples.data.rules, placement.full
    for annotation in samples.index.annotations(position):
        label = label_of(annotation, samples.lookup, rules)
        runs = None if label in (0, VOID) or annotation.crowd else whole(annotation, full)
        if runs is not None:
            area = int(coco_mask.area(runs))
            if placement.inner != full:
                runs = encode(region([annotation], rules.rasterize, full, placement.inner))
            yield Drawn(label, area, runs)


def count_objects(
    objects: Iterable[Drawn], truth: UInt8[np.ndarray, "height width"], prediction: UInt8[np.ndarray, "height width"]
) -> Int64[np.ndarray, "sizes 4"]:
    """For small, medium and large: objects, those found, their pixels, and the pixels predicted as their class.

    An object's pixels are those that the drawn mask gives to its class; one of which none is left, since others lie
    over it, does not count. It is found if at least half of its pixels are predicted as its class.
    """
    counts = np.zeros((len(SIZES), 4), np.int64)
    classes: dict[int, tuple[Runs, Runs]] = {}
    for drawn in objects:
        if drawn.label not in classes:
            true = truth == drawn.label
            classes[drawn.label] = encode(true), encode(true & (prediction == drawn.label))
        pixels, hit = (common(drawn.runs, runs) for runs in classes[drawn.label])
        if pixels:
            counts[np.searchsorted(AREAS, drawn.area, side="right")] += (1, 2 * hit >= pixels, pixels, hit)
    return counts


def common(ours: Runs, theirs: Runs) -> int:
    """Pixels in both."""
    return int(coco_mask.area(coco_mask.merge([ours, theirs], intersect=True)))
