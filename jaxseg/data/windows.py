"""Windows of a picture that is larger than the network's size: drawn at random, or side by side over all of it."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from jaxseg.arrays import VOID
from jaxseg.data.geometry import Placement

SALT = 0x77696E646F77
"""Keeps the numbers that draw windows apart from those that draw an epoch."""


class Chance(NamedTuple):
    """What a random window follows from: the run's seed, the step, the place in the global batch."""

    seed: int
    step: int
    place: int


Window = Chance | int
"""Drawn by chance; or the number of one of those side by side."""


def positions(side: int, tile: int, overlap: float) -> tuple[int, ...]:
    """Where tiles start, the first at 0 and the last ending at `side`, evenly spread with at least this overlap.

    They lie alike from both ends, so that a flipped picture is cut into flipped tiles.
    """
    if side <= tile:
        return (0,)
    stride = max(1, math.floor(tile * (1 - overlap)))
    count = math.ceil((side - tile) / stride) + 1
    room = side - tile
    first = [-(-i * room // (count - 1)) for i in range((count + 1) // 2)]
    return (*first, *(room - start for start in first[: count // 2][::-1]))


def count(inner: tuple[int, int], target: tuple[int, int]) -> int:
    """Of the windows that cover a picture of the size `inner`."""
    return math.prod(len(positions(side, room, 0.0)) for side, room in zip(inner, target, strict=True))


def beside(whole: Placement, target: tuple[int, int], number: int) -> tuple[Placement, tuple[slice, slice]]:
    """One of the windows that cover the picture, in the order of rows; and the part of it that only it counts.

    The windows overlap where the sides are no multiples: a pixel belongs to the first that shows it, so that over all
    windows each pixel of the picture counts once.
    """
    starts = [positions(side, room, 0.0) for side, room in zip(whole.inner, target, strict=True)]
    place = divmod(number, len(starts[1]))
    before = [
        begins[n - 1] + room - begins[n] if n else 0 for begins, n, room in zip(starts, place, target, strict=True)
    ]
    row, column = (begins[n] for begins, n in zip(starts, place, strict=True))
    return at(whole, target, (row, column)), (slice(before[0], None), slice(before[1], None))


def at(whole: Placement, target: tuple[int, int], start: tuple[int, int]) -> Placement:
    """The window that begins at this row and column; a smaller picture lies in its middle."""
    top, left = (
        -first if side > room else (room - side) // 2
        for first, side, room in zip(start, whole.inner, target, strict=True)
    )
    return Placement(whole.full, whole.inner, (top, left), target)


def drawn(
    whole: Placement, target: tuple[int, int], mask: UInt8[np.ndarray, "height width"], chance: Chance, share: float
) -> Placement:
    """A random window: evenly anywhere in the picture; or, with the probability `share`, one that shows a class.

    That is: of the classes in the `mask` one, of its pixels one, and of the windows that show it one, each evenly. So
    nnU-Net oversamples the foreground (Isensee et al., Nature Methods 18, 2021), which puts the pixel in the middle.
    """
    rng = np.random.default_rng([SALT, *chance])
    pixel = chosen_pixel(mask, rng) if rng.random() < share else None
    start = []
    for axis, (side, room) in enumerate(zip(whole.inner, target, strict=True)):
        low, high = 0, max(0, side - room)
        if pixel is not None:
            low, high = max(low, pixel[axis] - room + 1), min(high, pixel[axis])
        start.append(int(rng.integers(low, high, endpoint=True)))
    return at(whole, target, (start[0], start[1]))


def chosen_pixel(mask: UInt8[np.ndarray, "height width"], rng: np.random.Generator) -> tuple[int, int] | None:
    """Of a class that is there; None where there is none."""
    classes = np.flatnonzero(np.bincount(mask.ravel(), minlength=VOID + 1)[1:VOID]) + 1
    if not len(classes):
        return None
    pixels = np.flatnonzero(mask == rng.choice(classes))
    row, column = divmod(int(rng.choice(pixels)), mask.shape[1])
    return row, column


class Chances:
    """The windows of training: each batch's own. Worker processes take it along."""

    def __init__(self, seed: int, places: range) -> None:
        self.seed, self.places = seed, places

    def __call__(self, step: int, row: int) -> Chance:
        return Chance(self.seed, step, self.places[row])


class Numbered:
    """The windows of an evaluation, by their numbers."""

    def __init__(self, numbers: Int64[np.ndarray, "steps batch"]) -> None:
        self.numbers = numbers

    def __call__(self, step: int, row: int) -> int:
        return int(self.numbers[step, row])


class Recent:
    """What was last made of a few positions, each once, though several threads ask: a picture has many windows."""

    def __init__(self, most: int) -> None:
        self.most, self.lock = most, threading.Lock()
        self.made: dict[int, Future[Any]] = {}

    def get(self, position: int, make: Callable[[int], Any]) -> Any:
        """`make(position)`; what failed is made again."""
        with self.lock:
            mine = position not in self.made
            found = self.made.setdefault(position, Future())
            for old in list(self.made)[: -self.most]:
                del self.made[old]
        if mine:
            try:
                found.set_result(make(position))
            except BaseException as error:
                with self.lock:
                    self.made.pop(position, None)
                found.set_exception(error)
        return found.result()
