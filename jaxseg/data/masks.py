"""The annotations of one image to a mask."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from pycocotools import mask as coco_mask

from jaxseg.arrays import VOID
from jaxseg.data.coco import Annotation
from jaxseg.data.geometry import Placement, check_pixels, framed

Overlap = Literal["max_index", "smallest_on_top", "last_on_top"]
Crowds = Literal["foreground", "void", "drop"]
Unknown = Literal["background", "void", "error"]
Rasterize = Literal["target", "full"]


class MaskRules(NamedTuple):
    """How annotations become a mask; `jaxseg.data.samples.Data` documents each."""

    overlap: Overlap
    crowds: Crowds
    unknown_category: Unknown
    rasterize: Rasterize


def draw_mask(
    annotations: Iterable[Annotation],
    lookup: UInt8[np.ndarray, " categories"],
    rules: MaskRules,
    placement: Placement,
) -> UInt8[np.ndarray, "height width"]:
    """Class indices of one image's annotations, placed as the image is; void around it where it is letterboxed.

    `lookup` gives the class of each category, 0 for those not drawn. Void is painted first, so objects stand on it.

    Raises:
        DataError: for an image of absurd size.
    """
    check_pixels(placement.full, "An image, by its entry in the JSON,")
    regions = []
    for annotation in annotations:
        label = label_of(annotation, lookup, rules)
        if label:
            regions.append((label, annotation))
    mask = np.zeros(placement.inner, np.uint8, order="F")  # as run lengths lie
    for label, group in paint_order(regions, rules, placement.full):
        covered = [annotation for _, annotation in group]
        np.copyto(mask, label, where=region(covered, rules.rasterize, placement.full, placement.inner))
    return framed(np.ascontiguousarray(mask[placement.shown]), placement, fill=VOID)


def label_of(annotation: Annotation, lookup: np.ndarray, rules: MaskRules) -> int:
    """What the annotation paints: a class, VOID, or 0 for nothing."""
    if annotation.category < 0:
        return VOID if rules.unknown_category == "void" else 0
    label = int(lookup[annotation.category])
    if label and annotation.crowd and rules.crowds != "foreground":
        return VOID if rules.crowds == "void" else 0
    return label


def paint_order(
    regions: list[tuple[int, Annotation]], rules: MaskRules, full: tuple[int, int]
) -> Iterable[tuple[int, Iterable[tuple[int, Annotation]]]]:
    """Neighbours of one label grouped, what is painted later lying on top."""
    if rules.overlap == "max_index":
        regions = sorted(regions, key=lambda r: (r[0] != VOID, r[0]))
    elif rules.overlap == "smallest_on_top":
        regions = sorted(regions, key=lambda r: (r[0] != VOID, -area(r[1], full)))
    else:
        regions = sorted(regions, key=lambda r: r[0] != VOID)
    return groupby(regions, key=lambda r: r[0])


def region(
    annotations: list[Annotation], rasterize: Rasterize, full: tuple[int, int], target: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """The union of the annotations at the target size."""
    covered = np.zeros(target, np.bool_, order="F")
    scaled = rasterize == "target" or full == target
    if scaled:
        step = np.array([target[1] / full[1], target[0] / full[0]])
        outlines = [(p.reshape(-1, 2) * step).ravel().tolist() for a in annotations for p in a.polygons]
        if outlines:
            covered = decode(coco_mask.frPyObjects(outlines, *target))
    for annotation in annotations:
        parts = rles(annotation, full) if annotation.rle is not None or not scaled else []
        if parts:  # each annotation reduced, then merged: the original's order
            covered |= reduce_mask(decode(parts), *target)
    return covered


def rles(annotation: Annotation, full: tuple[int, int]) -> list[Any]:
    """The annotation's parts in pycocotools' form, at full size."""
    parts = coco_mask.frPyObjects([p.tolist() for p in annotation.polygons], *full) if annotation.polygons else []
    if annotation.rle is not None:
        parts = [*parts, coco_mask.frPyObjects({"counts": annotation.rle.tolist(), "size": list(full)}, *full)]
    return parts


def decode(parts: list[Any]) -> Bool[np.ndarray, "height width"]:
    """The union of the parts, at least one."""
    return coco_mask.decode(coco_mask.merge(parts)).view(np.bool_)


def area(annotation: Annotation, full: tuple[int, int]) -> int:
    """Pixels covered at full size; measured, since the JSON's `area` often disagrees."""
    parts = rles(annotation, full)
    return int(coco_mask.area(coco_mask.merge(parts))) if parts else 0


def reduce_mask(mask: Bool[np.ndarray, "rows columns"], height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """True where the mask, interpolated linearly at the new pixel's centre, is at least one half.

    That is OpenCV's default resize on 0/1 masks, which the original applies to each annotation.
    """
    values, axes = mask, [(0, height), (1, width)]
    if height > mask.shape[0]:
        axes.reverse()  # what grows comes last: 224 rows of an image of one row and 10^8 columns are no small array
    for axis, size in axes:
        centre = np.clip((np.arange(size) + 0.5) * mask.shape[axis] / size - 0.5, 0, mask.shape[axis] - 1)
        low = np.floor(centre).astype(np.intp)
        high = np.minimum(low + 1, mask.shape[axis] - 1)
        part = (centre - low).astype(np.float32)
        part = part[:, None] if axis == 0 else part[None, :]
        values = np.take(values, low, axis) * (1 - part) + np.take(values, high, axis) * part
    return values >= 0.5
