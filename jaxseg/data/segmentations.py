"""Segmentations as annotations give them, to flat arrays of what can be drawn: outlines and run lengths."""

from array import array
from typing import Any

import numpy as np

BAD, POLYGON, RLE = 0, 1, 2  # kinds of parts
ABSURD = 10  # a point further out than this many times the image's width or height is no outline


class Parts:
    """Grows the flat arrays of polygons and run lengths; what can't be drawn is kept as an empty BAD part."""

    def __init__(self) -> None:
        self.values, self.lengths, self.kinds, self.per_annotation = array("d"), array("q"), bytearray(), array("q")

    def add(self, segmentation: Any, height: int, width: int) -> None:
        if isinstance(segmentation, dict):
            runs = run_lengths(segmentation, height, width)
            self.append(RLE if runs is not None else BAD, runs if runs is not None else ())
            self.per_annotation.append(1)
            return
        polygons = segmentation if isinstance(segmentation, list) else []
        for polygon in polygons:
            good = is_outline(polygon, ABSURD * height, ABSURD * width)
            self.append(POLYGON if good else BAD, polygon if good else ())
        self.per_annotation.append(len(polygons))

    def append(self, kind: int, values: Any) -> None:
        self.kinds.append(kind)
        self.values.extend(values)
        self.lengths.append(len(values))


def is_outline(polygon: Any, far_y: int, far_x: int) -> bool:
    """True if pycocotools can draw it: at least three points, finite, and not absurdly far out."""
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return False
    if not all(type(value) in (float, int) for value in polygon):
        return False
    return all(-far_x <= x <= far_x for x in polygon[::2]) and all(-far_y <= y <= far_y for y in polygon[1::2])


def run_lengths(segmentation: dict, height: int, width: int) -> np.ndarray | None:
    """The runs of an RLE, a list or COCO's compressed string; None unless they fill the image exactly."""
    counts, size = segmentation.get("counts"), segmentation.get("size")
    if size != [height, width]:
        return None
    if isinstance(counts, str):
        runs = decompress(counts)
    elif isinstance(counts, list) and all(type(run) is int and 0 <= run <= height * width for run in counts):
        runs = np.asarray(counts, np.int64)
    else:
        return None
    valid = runs is not None and runs.size and runs.min() >= 0 and int(runs.sum()) == height * width
    return runs if valid else None


def decompress(counts: str) -> np.ndarray | None:
    """COCO's compressed RLE string to run lengths: five bits a character, differences from the run before last."""
    code = np.frombuffer(counts.encode(errors="surrogatepass"), np.uint8).astype(np.int64) - 48
    if not code.size or code.min() < 0 or code.max() > 63 or code[-1] & 32:
        return None
    starts = np.flatnonzero(np.concatenate([[True], (code[:-1] & 32) == 0]))
    lengths = np.diff(np.append(starts, code.size))
    if lengths.max() > 7:  # 35 bits: more than any image has pixels
        return None
    place = np.arange(code.size) - np.repeat(starts, lengths)
    runs = np.add.reduceat((code & 31) << (5 * place), starts)
    negative = (code[starts + lengths - 1] & 16) != 0
    runs -= np.where(negative, np.int64(1) << (5 * lengths), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
