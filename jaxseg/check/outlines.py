"""Annotations against their image: where they lie, how large they are, whether anything of them is seen."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from pycocotools import mask as coco_mask

from jaxseg.check.findings import Fault, Kind
from jaxseg.data.coco import Annotation
from jaxseg.data.geometry import Placement
from jaxseg.data.masks import region, rles
from jaxseg.errors import counted

SLACK = 2.0  # pixels that an outline may leave the frame by, and a box may be off by
BOX_SHARE = 0.02  # of the box's side; COCO's own boxes of crowds are one pixel off
AREA_SHARE, AREA_EDGE = 0.1, 4  # of the area, and pixels for each pixel of its square root: COCO's are within these

NORMALISED = Kind(
    "polygon-normalised",
    "error",
    "annotations",
    "A polygon's coordinates all lie between 0 and 1: they seem to be shares of the image, where pixels were expected.",
    "Takes them for pixels: the object vanishes in the top left corner, and is taught as background.",
    "Multiply x by the image's width and y by its height.",
)
OUTSIDE = Kind(
    "outside-frame",
    "warning",
    "annotations",
    "An annotation lies wholly outside its image.",
    "Draws nothing for it.",
    "Look at it: it may belong to another image, or to another size of this one, or have x and y exchanged.",
)
PARTLY_OUTSIDE = Kind(
    "partly-outside-frame",
    "warning",
    "annotations",
    "An outline leaves its image by more than two pixels.",
    "Draws it up to the image's edge.",
    "Look at it: it may belong to another size of the image, or have x and y exchanged.",
)
NO_AREA = Kind(
    "zero-area",
    "warning",
    "annotations",
    "The outline of an annotation encloses nothing: its points lie on one line or in one place.",
    "Draws nothing for it.",
    "Draw it again, or take it out.",
)
EMPTY_MASK = Kind(
    "empty-mask",
    "warning",
    "annotations",
    "The run lengths of an annotation hold no foreground.",
    "Draws nothing for it.",
    "Encode the mask again, or take the annotation out.",
)
BOX_DISAGREES = Kind(
    "box-disagrees",
    "warning",
    "annotations",
    "A box is not that of its mask.",
    "Draws the mask; boxes are not used.",
    "Look at both: if the box is right, the mask is not, and that is what is learnt.",
)
AREA_DISAGREES = Kind(
    "area-disagrees",
    "note",
    "annotations",
    "An area is not that of its mask.",
    "Measures areas itself; the JSON's is not used.",
    "Nothing for jaxseg; pycocotools sorts objects into small, medium and large by it.",
)
TWICE = Kind(
    "annotation-twice",
    "note",
    "annotations",
    "An image has one and the same annotation twice.",
    "Draws it twice, which changes nothing.",
    "Take one of them out; counts of objects are wrong.",
)
UNSEEN = Kind(
    "unseen-at-size",
    "note",
    "annotations",
    "An object is too small to leave a pixel at the training size.",
    "Draws nothing for it.",
    "Train at a larger --data.height and --data.width, or on windows by --data.crop, if such objects matter.",
)


class Shape(NamedTuple):
    """What was found of one annotation: its mask's pixels at full size, and the faults."""

    area: int
    faults: list[Fault]


def examine_shape(
    annotation: Annotation, box: Float64[np.ndarray, " 4"], area: float, placement: Placement, whole: bool
) -> Shape:
    """Check one annotation; `whole` says that no part of it was refused, so that its box and area can be compared."""
    if not annotation.polygons and annotation.rle is None:
        return Shape(0, [])
    id_, full = annotation.id, placement.full
    pixels = coco_mask.merge(rles(annotation, full))
    covered = int(coco_mask.area(pixels))
    if annotation.rle is not None:
        if not covered:
            return Shape(0, [Fault(EMPTY_MASK, id_)])
        low_x, low_y, width, height = coco_mask.toBbox(pixels).tolist()
        extent, enclosed = (low_x, low_y, low_x + width, low_y + height), float(covered)
        faults = []
    else:
        points = np.concatenate(annotation.polygons).reshape(-1, 2)
        extent = (*points.min(0).tolist(), *points.max(0).tolist())
        enclosed = sum(shoelace(polygon) for polygon in annotation.polygons)
        faults = list(misplaced(points, extent, enclosed, full, id_))
    if whole and not any(fault.kind in (NORMALISED, OUTSIDE) for fault in faults):
        faults += box_faults(box, extent, full, id_)
    if covered and whole:
        faults += area_faults(area, covered, enclosed, box, id_)
    if not any(fault.kind in (NORMALISED, OUTSIDE, NO_AREA) for fault in faults) and unseen(
        annotation, covered, placement
    ):
        faults.append(Fault(UNSEEN, id_, f"{counted(covered, 'pixel')} of {full[1]} x {full[0]}"))
    return Shape(covered, faults)


def misplaced(
    points: Float64[np.ndarray, "points 2"], extent: tuple[float, ...], enclosed: float, full: tuple[int, int], id_: int
) -> Iterator[Fault]:
    low_x, low_y, high_x, high_y = extent
    height, width = full
    corners = f"x {low_x:g} to {high_x:g}, y {low_y:g} to {high_y:g}, in an image {width} wide, {height} high"
    if min(low_x, low_y) >= 0 and max(high_x, high_y) <= 1 and min(full) > 4 and (points % 1).any():
        yield Fault(NORMALISED, id_, corners)
        return
    fits = min(low_x, low_y) >= -SLACK and high_y <= width + SLACK and high_x <= height + SLACK
    hint = "; it would fit with x and y exchanged" if fits and height != width else ""
    if high_x <= 0 or high_y <= 0 or low_x >= width or low_y >= height:
        yield Fault(OUTSIDE, id_, corners + hint)
    elif min(low_x, low_y) < -SLACK or high_x > width + SLACK or high_y > height + SLACK:
        yield Fault(PARTLY_OUTSIDE, id_, corners + hint)
    if enclosed < 1e-6:
        yield Fault(NO_AREA, id_, corners)


def box_faults(
    box: Float64[np.ndarray, " 4"], extent: tuple[float, ...], full: tuple[int, int], id_: int
) -> Iterator[Fault]:
    x, y, width, height = box.tolist()
    if not np.isfinite(box).all() or min(width, height) < 0:
        return
    cut = tuple(min(max(edge, 0.0), float(side)) for edge, side in zip(extent, (full[1], full[0]) * 2, strict=True))
    found = x, y, x + width, y + height
    if agree(found, extent) or agree(found, cut):
        return
    as_corners = "; its numbers read as x1, y1, x2, y2" if agree((x, y, width, height), extent) else ""
    exchanged = "; it fits with x and y exchanged" if agree((y, x, y + height, x + width), extent) else ""
    told = " ".join(f"{number:g}" for number in (x, y, width, height))
    true = f"{extent[0]:g} {extent[1]:g} {extent[2] - extent[0]:g} {extent[3] - extent[1]:g}"
    yield Fault(BOX_DISAGREES, id_, f"[{told}], the mask's is [{true}]{as_corners}{exchanged}")


def agree(box: tuple[float, ...], extent: tuple[float, ...]) -> bool:
    """True if two boxes, as corners, are one within the tolerance."""
    for low, high in ((0, 2), (1, 3)):
        room = max(SLACK, BOX_SHARE * (extent[high] - extent[low]))
        if abs(box[low] - extent[low]) > room or abs(box[high] - extent[high]) > room:
            return False
    return True


def area_faults(
    area: float, covered: int, enclosed: float, box: Float64[np.ndarray, " 4"], id_: int
) -> Iterator[Fault]:
    """`enclosed` is the outlines' own area, which some tools write: it is right as well."""
    off = min(abs(area - covered), abs(area - enclosed))
    if not math.isnan(area) and off > max(AREA_SHARE * covered, AREA_EDGE * math.sqrt(covered)):
        boxed = " (it is the box's area)" if abs(area - box[2] * box[3]) <= 0.01 * area else ""
        yield Fault(AREA_DISAGREES, id_, f"{area:g}{boxed}, the mask has {counted(covered, 'pixel')}")


def shoelace(polygon: Float64[np.ndarray, " coordinates"]) -> float:
    x, y = polygon[::2] - polygon[0], polygon[1::2] - polygon[1]  # so that the last side adds nothing
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:]))) / 2


def unseen(annotation: Annotation, covered: int, placement: Placement) -> bool:
    """True if nothing of it is drawn at the training size."""
    shrink = placement.inner[0] * placement.inner[1] / (placement.full[0] * placement.full[1])
    if covered * shrink > 64:  # sure to be seen, and most objects are that large
        return False
    return not region([annotation], "target", placement.full, placement.inner).any()
