"""Why a part of a segmentation can't be drawn."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxseg.check.findings import Fault, Kind, shown
from jaxseg.data.segmentations import decompress, farthest, outlines_near
from jaxseg.errors import counted

LEFT_OUT = "Leaves this part out, and says so at the start of a run; the other parts are drawn."
NOTHING = "Draws nothing for it, and says so at the start of a run: the object is taught as background."


def polygon_kind(code: str, what: str, mend: str) -> Kind:
    return Kind(f"polygon-{code}", "warning", "annotations", what, LEFT_OUT, mend)


def rle_kind(code: str, what: str, mend: str) -> Kind:
    return Kind(f"rle-{code}", "warning", "annotations", what, LEFT_OUT, mend)


NOT_FINITE = polygon_kind(
    "not-finite", "A polygon has a coordinate that is NaN or infinite.", "Draw it again, or take the point out."
)
FAR = polygon_kind(
    "far",
    "A polygon has a point more than ten image sizes away.",
    "Look at the unit and the scale of the coordinates: they are pixels of the image as the JSON gives its size.",
)
SHORT = polygon_kind(
    "short", "A polygon has fewer than three points.", "Take it out, or draw it again: x1, y1, x2, y2, x3, y3, ..."
)
ODD = polygon_kind("odd", "A polygon has an odd number of coordinates.", "Each point needs its x and its y.")
NOT_NUMBERS = polygon_kind(
    "not-numbers",
    "A polygon is no flat list of numbers.",
    "Write numbers, not text, null or pairs: [x1, y1, x2, y2, ...] for each polygon.",
)
FLAT = polygon_kind(
    "flat",
    "A segmentation is one list of numbers, where a list of polygons was expected.",
    "Put it in one more pair of brackets: [[x1, y1, x2, y2, ...]].",
)
LONG = polygon_kind(
    "long",
    "A polygon is too much to draw: its outline is absurdly long or has too many points.",
    "Draw it again; an outline goes round its object once.",
)
RLE_SIZE = rle_kind(
    "wrong-size",
    "The run lengths are of another size than their image.",
    "Encode the mask at the image's own [height, width], in that order.",
)
RLE_TOTAL = rle_kind(
    "wrong-total", "The run lengths do not add up to the image's pixels.", "Encode the mask again; it may be cut off."
)
RLE_NEGATIVE = rle_kind("negative", "A run length is negative.", "Encode the mask again.")
RLE_MALFORMED = rle_kind(
    "malformed",
    "The run lengths are neither a list of whole numbers nor COCO's compressed string.",
    'Write {"size": [height, width], "counts": ...} as pycocotools does.',
)
NO_SEGMENTATION = Kind(
    "no-segmentation",
    "warning",
    "annotations",
    "An annotation has no segmentation.",
    NOTHING,
    "Draw it, or take the annotation out; boxes alone make no mask.",
)
SEGMENTATION_TYPE = Kind(
    "segmentation-type",
    "warning",
    "annotations",
    "A segmentation is neither a list of polygons nor run lengths.",
    NOTHING,
    "Write [[x1, y1, x2, y2, ...], ...] or COCO's run lengths.",
)


def reasons(segmentation: Any, size: tuple[int, int], id_: int) -> Iterator[Fault]:
    """What `jaxseg.data.segmentations` refuses of it, in an image of this (height, width): a fault a kind."""
    if isinstance(segmentation, dict):
        if found := rle_reason(segmentation, size):
            yield Fault(found[0], id_, found[1])
    elif segmentation is None or segmentation == []:
        yield Fault(NO_SEGMENTATION, id_)
    elif not isinstance(segmentation, list):
        yield Fault(SEGMENTATION_TYPE, id_, shown(segmentation))
    elif all(is_number(value) for value in segmentation):
        yield Fault(FLAT, id_, counted(len(segmentation), "number"))
    else:
        told: set[Kind] = set()
        for number, polygon in enumerate(segmentation, 1):
            found = polygon_reason(polygon, size)
            if found and found[0] not in told:
                told.add(found[0])
                where = f"polygon {number} of {len(segmentation)}: " if len(segmentation) > 1 else ""
                yield Fault(found[0], id_, where + found[1])


def polygon_reason(polygon: Any, size: tuple[int, int]) -> tuple[Kind, str] | None:
    if not isinstance(polygon, list) or not all(is_number(value) for value in polygon):
        return NOT_NUMBERS, shown(polygon)
    if len(polygon) % 2:
        return ODD, counted(len(polygon), "number")
    if len(polygon) < 6:
        return SHORT, counted(len(polygon) // 2, "point")
    odd = [value for value in polygon if isinstance(value, float) and not math.isfinite(value)]
    if odd:
        return NOT_FINITE, shown(odd[0])
    far_x, far_y = farthest(np.array(size, np.int64)).tolist()
    beyond = [
        v
        for x, y in zip(polygon[::2], polygon[1::2], strict=True)
        for v, far in ((x, far_x), (y, far_y))
        if abs(v) > far
    ]
    if beyond:
        return FAR, shown(beyond[0])
    points = np.array(polygon, np.float64).reshape(-1, 2)
    near = outlines_near(points, np.array([0, len(points)], np.int64), np.array([size], np.int64))
    return None if near[0] else (LONG, counted(len(points), "point"))


def rle_reason(segmentation: dict, size: tuple[int, int]) -> tuple[Kind, str] | None:
    said, counts = segmentation.get("size"), segmentation.get("counts")
    if not (isinstance(said, list) and len(said) == 2 and all(is_number(side) for side in said)):
        return RLE_MALFORMED, f"size {shown(said)}"
    if said != list(size):
        swapped = ": height and width are exchanged" if said == list(size[::-1]) else ""
        return RLE_SIZE, f"size {shown(said)}, the image's is {list(size)}{swapped}"
    if isinstance(counts, str):
        runs = decompress(counts)
        if runs is None:
            return RLE_MALFORMED, f"counts {shown(counts)}"
        counts = runs.tolist()
    if not isinstance(counts, list) or not all(type(run) is int for run in counts):
        return RLE_MALFORMED, f"counts {shown(counts)}"
    if any(run < 0 for run in counts):
        return RLE_NEGATIVE, shown(min(counts))
    total, pixels = sum(counts), size[0] * size[1]
    return None if total == pixels else (RLE_TOTAL, f"{shown(total)} of {pixels} pixels")


def is_number(value: Any) -> bool:
    return type(value) in (int, float)
