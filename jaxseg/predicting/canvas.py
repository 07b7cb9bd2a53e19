"""What the network says of a picture, gathered at the picture's own size."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, UInt8, UInt16
from PIL import Image

from jaxseg.data.geometry import Placement, Stretch, bands, restored_bands, stretched
from jaxseg.metrics import decide
from jaxseg.predicting.photograph import rows_of
from jaxseg.predicting.tiles import Grid, coverage, profile

Keep = Literal["all", "chosen", "nothing"]
"""Of the probabilities: all, as float32; that of the foreground, or of the class chosen, in 16 bits; none."""

STEPS = 65535
"""A probability of 1 in 16 bits."""

Frame = UInt8[np.ndarray, "height width channels"]
Band = Float32[np.ndarray, "rows width outputs"]


class Canvas:
    """The mask, and what is kept of the probabilities, painted in bands of rows."""

    def __init__(self, full: tuple[int, int], outputs: int, threshold: float, keep: Keep) -> None:
        self.threshold, self.outputs = threshold, outputs
        self.mask: UInt8[np.ndarray, "height width"] = np.zeros(full, np.uint8)
        self.every: Band = np.zeros((*full, outputs) if keep == "all" else (0, 0, outputs), np.float32)
        self.chosen: UInt16[np.ndarray, "height width"] | None = np.zeros(full, np.uint16) if keep == "chosen" else None
        classes = max(2, outputs)
        self.sums: Float64[np.ndarray, " classes"] = np.zeros(classes)
        self.counts = np.zeros(classes, np.int64)

    def paint(self, first: int, band: Band) -> None:
        """Rows from `first` on."""
        rows = slice(first, first + len(band))
        mask = decide(band, self.threshold)
        chosen = band[..., 0] if self.outputs == 1 else np.take_along_axis(band, mask[..., None], axis=-1)[..., 0]
        self.mask[rows] = mask
        if self.every.size:
            self.every[rows] = band
        if self.chosen is not None:
            self.chosen[rows] = np.clip(chosen * STEPS + 0.5, 0, STEPS)
        counts = np.bincount(mask.ravel(), minlength=len(self.counts))
        self.counts += counts
        for value in np.flatnonzero(counts):
            self.sums[value] += chosen.sum(where=mask == value, dtype=np.float64)

    @property
    def scores(self) -> dict[int, float]:
        """The mean probability of each class's pixels, for the foreground classes that are there."""
        return {c: float(self.sums[c] / self.counts[c]) for c in range(1, len(self.counts)) if self.counts[c]}


class Whole:
    """A picture that the network sees at once."""

    def __init__(self, frame: Frame, placement: Placement, canvas: Canvas) -> None:
        self.frame, self.placement, self.canvas = frame, placement, canvas
        self.count, self.seen = 1, 0
        self.found: Band | None = None

    def frames(self) -> Iterator[Frame]:
        yield self.frame

    def put(self, probabilities: Band) -> None:
        """Of the frame."""
        self.found = probabilities
        self.seen = 1

    def finish(self) -> Canvas:
        """The canvas, painted."""
        assert self.found is not None, "the network has not seen it"
        for first, band in restored_bands(self.found, self.placement):
            self.canvas.paint(first, band)
        return self.canvas


class Tiled:
    """A picture that the network sees in tiles: only a band of it is held in probabilities."""

    def __init__(self, image: Image.Image, grid: Grid, canvas: Canvas) -> None:
        self.image: Image.Image | None = image
        self.grid, self.canvas = grid, canvas
        self.count, self.seen = grid.count, 0
        down, across = profile(grid.tile[0])[grid.window[0]], profile(grid.tile[1])[grid.window[1]]
        self.weights: Float32[np.ndarray, "rows width 1"] = (down[:, None] * across)[..., None]
        self.total_down = coverage(grid.size[0], grid.rows, down)
        self.total_across = coverage(grid.size[1], grid.columns, across)
        self.band: Band = np.zeros((len(down), grid.size[1], canvas.outputs), np.float32)
        self.ready: Band = self.band[:0]  # rows that are averaged, and may be needed still, from `base` on
        self.base, self.painted = 0, 0

    def frames(self) -> Iterator[Frame]:
        """In the order of rows, and of columns in each."""
        height, width = self.grid.shown
        for row in self.grid.rows:
            assert self.image is not None, "the frames are taken once"
            rows = rows_of(self.image, self.grid.size, row, row + height)
            for column in self.grid.columns:
                frame = np.zeros((*self.grid.tile, rows.shape[-1]), np.uint8)
                frame[self.grid.window] = rows[:, column : column + width]
                yield frame
        self.image = None  # it may be large, and is not needed any more

    def put(self, probabilities: Band) -> None:
        """Of the next tile."""
        row, column = divmod(self.seen, len(self.grid.columns))
        self.seen += 1
        shown = probabilities[self.grid.window]
        if self.count == 1:
            return self.flush(shown)
        start = self.grid.columns[column]
        self.band[:, start : start + shown.shape[1]] += shown * self.weights
        if column + 1 < len(self.grid.columns):
            return None
        first = self.grid.rows[row]
        last = self.grid.rows[row + 1] if row + 1 < len(self.grid.rows) else self.grid.size[0]
        total = self.total_down[first:last, None, None] * self.total_across[:, None]
        rows = last - first
        self.flush(self.band[:rows] / total)
        self.band[:-rows] = self.band[rows:].copy()
        self.band[-rows:] = 0
        return None

    def flush(self, rows: Band) -> None:
        """Paint what can be painted, once more rows are averaged."""
        (height, _), (full_height, full_width) = self.grid.size, self.canvas.mask.shape
        if self.grid.size == self.canvas.mask.shape:
            self.canvas.paint(self.painted, rows)
            self.painted += len(rows)
            return
        self.ready = np.concatenate([self.ready, rows]) if len(self.ready) else rows
        at_hand, ratio = self.base + len(self.ready), height / full_height
        reach = max(1.0, ratio) + 1
        last = full_height if at_hand == height else int(max(0.0, at_hand - reach) / ratio)
        for first, end in bands(self.painted, last, full_width * self.canvas.outputs):
            wanted = Stretch(ratio, first, end, self.base)
            self.canvas.paint(first, stretched(self.ready, (end - first, full_width), wanted))
        self.painted = last
        keep = max(self.base, int(self.painted * ratio - reach))
        self.ready, self.base = self.ready[keep - self.base :], keep

    def finish(self) -> Canvas:
        """The canvas, painted."""
        return self.canvas
