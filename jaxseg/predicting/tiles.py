"""Tiles that cover a picture with overlap, and how much each of their pixels counts.

After nnU-Net (Isensee et al., Nature Methods 18, 2021): tiles of the network's size, half overlapping, weighted by a
Gaussian of an eighth of their side, since a network sees least around the pixels at its border.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from jaxseg.data.windows import positions
from jaxseg.errors import InputError

SIGMA = 1 / 8
"""Of the Gaussian, in sides of a tile."""


@dataclass(frozen=True)
class Tile:
    """How a picture is cut.

    Attributes:
        scale: what its height and width are multiplied by first.
        overlap: of neighbouring tiles, as a share of their side, at least; below 1.
        size: height and width of a tile; None: what the network was trained on.
    """

    scale: float = 1.0
    overlap: float = 0.5
    size: tuple[int, int] | None = None


class Grid(NamedTuple):
    """Tiles of one `tile` size over a picture of `size`: their first `rows` and `columns`, the same in each.

    Where the picture is smaller than a tile, it lies in its middle: `corner` is the picture's own in the tile.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    corner: tuple[int, int]

    @property
    def count(self) -> int:
        """Of all tiles."""
        return len(self.rows) * len(self.columns)

    @property
    def window(self) -> tuple[slice, slice]:
        """The part of each tile that shows the picture."""
        height, width = self.shown
        return slice(self.corner[0], self.corner[0] + height), slice(self.corner[1], self.corner[1] + width)

    @property
    def shown(self) -> tuple[int, int]:
        """Its height and width."""
        return min(self.size[0], self.tile[0]), min(self.size[1], self.tile[1])


def check_tile(cut: Tile, size: tuple[int, int]) -> None:
    """Raise an InputError for tiles that can't be."""
    if not 0 <= cut.overlap < 1:
        raise InputError(f"an overlap of {cut.overlap:g}: it is a share of a tile's side, at least 0 and below 1.")
    if not (cut.scale > 0 and math.isfinite(cut.scale)):
        raise InputError(f"a scale of {cut.scale:g}: it must be above 0.")
    if min(size) < 1:
        raise InputError(f"tiles of {size[0]} x {size[1]} (height x width): both must be above 0.")


def grid(full: tuple[int, int], tile: tuple[int, int], cut: Tile) -> Grid:
    """The tiles of a picture of `full` size."""
    size = (max(1, round(full[0] * cut.scale)), max(1, round(full[1] * cut.scale)))
    rows, columns = (positions(side, room, cut.overlap) for side, room in zip(size, tile, strict=True))
    corner = (max(0, tile[0] - size[0]) // 2, max(0, tile[1] - size[1]) // 2)
    return Grid(size, tile, rows, columns, corner)


def profile(tile: int) -> Float32[np.ndarray, " tile"]:
    """The weights along one side; a pixel's weight is the product of its two, above 0 everywhere."""
    distance = (np.arange(tile) - (tile - 1) / 2) / (tile * SIGMA)
    return np.exp(-0.5 * distance**2).astype(np.float32)


def coverage(
    side: int, starts: tuple[int, ...], weights: Float32[np.ndarray, " shown"]
) -> Float32[np.ndarray, " side"]:
    """The sum of all tiles' weights along one side."""
    total = np.zeros(side, np.float32)
    for start in starts:
        total[start : start + len(weights)] += weights
    return total
