"""Segmentations as annotations give them, to flat arrays of what can be drawn: outlines and run lengths."""

from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, Shaped

ABSURD = 10  # a point further out than this many times the image's width or height is no outline
FARTHEST = 1 << 26  # pixels: pycocotools takes five times this into 32 bits
LONGEST = 1 << 22  # pixels around an outline, and its points: pycocotools takes some 50 bytes for each
BLOCK = 1 << 19  # points checked at a time
HUNDRED = 100

NUMBERS = frozenset((int, float))
WHOLE = frozenset((int,))


class Drawable(NamedTuple):
    """What can be drawn of the annotations, in their order; `faulty` where something can't and is left out.

    Outlines of annotation `a` are `outline_offsets[a]:outline_offsets[a + 1]`, their points the like; so are its runs.
    Points are in pixels after division by `point_scale`.
    """

    outline_offsets: Int64[np.ndarray, " annotations+1"]
    point_offsets: Int64[np.ndarray, " bounds"]
    points: Shaped[np.ndarray, "points 2"]
    point_scale: int
    run_offsets: Int64[np.ndarray, " annotations+1"]
    runs: Int32[np.ndarray, " runs"]
    faulty: Bool[np.ndarray, " annotations"]
    empty: Bool[np.ndarray, " annotations"]


class Segmentations:
    """Grows flat arrays of numbers; whether these can be drawn is seen when all images are known."""

    def __init__(self) -> None:
        self.outlines, self.lengths, self.values = array("q"), array("q"), array("d")  # of x, y, x, y, ...
        self.runs_of, self.run_sizes, self.runs = array("q"), array("q"), array("q")
        self.faulty = bytearray()

    def add(self, segmentation: Any) -> None:
        """That of the next annotation; where it is no polygons and no run lengths, it is empty."""
        outlines = runs = faulty = 0
        if type(segmentation) is list:
            for polygon in segmentation:
                if self.add_outline(polygon):
                    outlines += 1
                else:
                    faulty = 1
        elif type(segmentation) is dict:
            runs = self.add_runs(segmentation)
            faulty = not runs
        self.outlines.append(outlines)
        self.runs_of.append(runs)
        self.faulty.append(faulty)

    def add_outline(self, polygon: Any) -> bool:
        """False where it is no list of at least three points."""
        if (
            type(polygon) is not list
            or len(polygon) < 6
            or len(polygon) % 2
            or not NUMBERS.issuperset(map(type, polygon))
        ):
            return False
        try:
            self.values.fromlist(polygon)
        except OverflowError:
            return False
        self.lengths.append(len(polygon) // 2)
        return True

    def add_runs(self, segmentation: dict) -> int:
        """How many run lengths it has, a list or COCO's compressed string; 0 where it has none."""
        counts, size = segmentation.get("counts"), segmentation.get("size")
        if type(size) is not list or len(size) != 2 or not all(type(n) in NUMBERS and 0 < n < 2**31 for n in size):
            return 0
        if type(counts) is str:
            found = decompress(counts)
            runs = array("q", b"" if found is None else found.tobytes())
        elif type(counts) is list and WHOLE.issuperset(map(type, counts)):
            try:
                runs = array("q", counts)
            except OverflowError:
                return 0
        else:
            return 0
        if runs:
            self.runs.extend(runs)
            # Half a pixel is no size: 0, which is that of no image.
            self.run_sizes.extend(int(n) if n == int(n) else 0 for n in size)
        return len(runs)

    def drawable(self, order: Int64[np.ndarray, " some"], size: Int64[np.ndarray, "annotations 2"]) -> Drawable:
        """Those of the annotations in `order`; `size` is the height and width of each one's image."""
        outlines, lengths, runs_of = (np.frombuffer(a, np.int64) for a in (self.outlines, self.lengths, self.runs_of))
        points = np.frombuffer(self.values, np.float64).reshape(-1, 2)
        owner = np.repeat(np.arange(len(outlines)), outlines)
        good = outlines_near(points, offsets(lengths), size[owner])
        faulty = np.frombuffer(self.faulty, np.bool_).copy()
        empty = ~(faulty | (outlines > 0) | (runs_of > 0))
        faulty[owner[~good]] = True
        runs, run_sizes = np.frombuffer(self.runs, np.int64), np.frombuffer(self.run_sizes, np.int64).reshape(-1, 2)
        encoded = np.flatnonzero(runs_of)
        fills = runs_fill(runs, offsets(runs_of[encoded]), run_sizes, size[encoded])
        faulty[encoded[~fills]] = True
        kept_runs = np.zeros_like(runs_of)
        kept_runs[encoded[fills]] = runs_of[encoded[fills]]

        points, scale = compact(points)
        chosen = ranges(offsets(outlines)[order], outlines[order])
        chosen = chosen[good[chosen]]
        return Drawable(
            outline_offsets=offsets(np.bincount(owner[good], minlength=len(outlines))[order]),
            point_offsets=offsets(lengths[chosen]),
            points=taken(points, offsets(lengths)[chosen], lengths[chosen]),
            point_scale=scale,
            run_offsets=offsets(kept_runs[order]),
            runs=taken(runs, offsets(runs_of)[order], kept_runs[order]).astype(np.int32),
            faulty=faulty[order],
            empty=empty[order],
        )


def outlines_near(
    points: Float64[np.ndarray, "points 2"],
    bounds: Int64[np.ndarray, " bounds"],
    size: Int64[np.ndarray, "outlines 2"],
) -> Bool[np.ndarray, " outlines"]:
    """Where pycocotools can draw an outline: finite, not absurdly far out, not absurdly long."""
    good = np.zeros(len(size), np.bool_)
    far = farthest(size)
    for first, last in blocks(bounds):
        x, y = points[bounds[first] : bounds[last]].T.copy()  # all that follows is quicker on each alone
        starts = bounds[first:last] - bounds[first]
        with np.errstate(invalid="ignore", over="ignore"):
            reach = np.maximum.reduceat(np.abs(x), starts), np.maximum.reduceat(np.abs(y), starts)
            step = np.maximum(np.abs(following(x, starts) - x), np.abs(following(y, starts) - y))
            length = np.add.reduceat(1 + step, starts)
            good[first:last] = (np.stack(reach, axis=1) <= far[first:last]).all(axis=1) & (length <= LONGEST)
    return good


def following(values: Float64[np.ndarray, " points"], starts: np.ndarray) -> Float64[np.ndarray, " points"]:
    """The value of the next point; after the last of an outline comes its first."""
    result = np.append(values[1:], values[:1])
    result[np.append(starts[1:], len(values)) - 1] = values[starts]
    return result


def compact(points: Float64[np.ndarray, "points 2"]) -> tuple[Shaped[np.ndarray, "points 2"], int]:
    """As hundredths, where all points are that exactly, as COCO's are; else as they are. With the scale.

    That halves the file. A rounded point would move pixels: pycocotools rounds them as doubles.
    """
    hundredths = np.empty(points.shape, np.int32)
    for first in range(0, len(points), BLOCK):
        block = points[first : first + BLOCK]
        with np.errstate(invalid="ignore", over="ignore"):
            nearest = np.rint(block * HUNDRED)
            if not ((np.abs(nearest) < 2**31) & (nearest / HUNDRED == block)).all():
                return points, 1
        hundredths[first : first + BLOCK] = nearest
    return hundredths, HUNDRED


def farthest(size: Int64[np.ndarray, "*some 2"]) -> Float64[np.ndarray, "*some 2"]:
    """How far out x and y may be, for an image's height and width."""
    return np.minimum(size[..., ::-1] * float(ABSURD), FARTHEST)


def runs_fill(
    runs: Int64[np.ndarray, " runs"],
    bounds: Int64[np.ndarray, " bounds"],
    said: Int64[np.ndarray, "encoded 2"],
    size: Int64[np.ndarray, "encoded 2"],
) -> Bool[np.ndarray, " encoded"]:
    """Where run lengths fill their image exactly, and say so."""
    if not len(size):
        return np.zeros(0, np.bool_)
    pixels, starts = size.prod(axis=1), bounds[:-1]
    inside = (np.minimum.reduceat(runs, starts) >= 0) & (np.maximum.reduceat(runs, starts) <= pixels)
    return inside & (np.add.reduceat(runs, starts) == pixels) & (said == size).all(axis=1)


def offsets(lengths: Any) -> Int64[np.ndarray, " bounds"]:
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))]).astype(np.int64)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> Int64[np.ndarray, " total"]:
    """`starts[0], starts[0] + 1, ...`, as many as the length says, and so on."""
    return np.repeat(starts - offsets(lengths)[:-1], lengths) + np.arange(lengths.sum())


def blocks(bounds: Int64[np.ndarray, " bounds"]) -> Iterator[tuple[int, int]]:
    """Neighbouring parts, about BLOCK of values together."""
    first = 0
    while first < len(bounds) - 1:
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + BLOCK, "right")) - 1)
        yield first, last
        first = last


def taken(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The parts `values[start : start + length]`, end to end; a block at a time, for the indices need memory too."""
    ends = offsets(lengths)
    result = np.empty((ends[-1], *values.shape[1:]), values.dtype)
    for first, last in blocks(ends):
        result[ends[first] : ends[last]] = values[ranges(starts[first:last], lengths[first:last])]
    return result


def decompress(counts: str) -> Int64[np.ndarray, " runs"] | None:
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
