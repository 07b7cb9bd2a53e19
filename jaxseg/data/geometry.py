"""Where a picture lies in the frame that the network sees."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped
from PIL import Image

from jaxseg.errors import DataError

Resize = Literal["stretch", "letterbox"]

BAND = 2**24
"""Values of probabilities, 64 MB, that are brought to full size at once."""

MAX_PIXELS = 2**27
"""Of one picture: 134 million, about half a GB when decoded. Larger ones are refused before anything is decoded."""


class Placement(NamedTuple):
    """A picture of `full` size, scaled to `inner` size, its top left corner at `corner` of a `target`; (rows, columns).

    The centre of picture pixel (y, x) lies at `corner + (y + 0.5, x + 0.5) * inner / full`, for the image and its mask
    alike. A window of a larger picture has a corner above or left of it, below 0.
    """

    full: tuple[int, int]
    inner: tuple[int, int]
    corner: tuple[int, int]
    target: tuple[int, int]

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the target that the picture fills."""
        rows, columns = (
            slice(max(0, corner), min(room, corner + side))
            for corner, side, room in zip(self.corner, self.inner, self.target, strict=True)
        )
        return rows, columns

    @property
    def shown(self) -> tuple[slice, slice]:
        """The rows and columns of the scaled picture that lie in the target."""
        rows, columns = (
            slice(part.start - corner, part.stop - corner)
            for part, corner in zip(self.window, self.corner, strict=True)
        )
        return rows, columns

    @property
    def whole(self) -> bool:
        """Whether all of the picture is shown."""
        return all(shown == slice(0, side) for shown, side in zip(self.shown, self.inner, strict=True))


def place(full: tuple[int, int], target: tuple[int, int], resize: Resize) -> Placement:
    """`stretch` fills the target; `letterbox` keeps the proportions, and is centred."""
    if resize == "stretch":
        return Placement(full, target, (0, 0), target)
    scale = min(target[0] / full[0], target[1] / full[1])
    height, width = (max(1, min(room, round(side * scale))) for side, room in zip(full, target, strict=True))
    return Placement(full, (height, width), ((target[0] - height) // 2, (target[1] - width) // 2), target)


def scaled_placement(full: tuple[int, int], scale: float) -> Placement:
    """The whole picture, its sides multiplied by `scale`, without a frame.

    Raises:
        DataError: if that is absurdly large.
    """
    inner = (max(1, round(full[0] * scale)), max(1, round(full[1] * scale)))
    check_pixels(inner, f"An image of {full[0]} x {full[1]}, scaled by {scale:g},")
    return Placement(full, inner, (0, 0), inner)


def how_resized(resize: Resize, height: int | None, width: int | None, crop: float | None = None) -> str:
    """A sentence for whoever prepares images without jaxseg."""
    if height is None or width is None:
        return "The size of the photographs in training is not known."
    size = f"{height} x {width} (height x width)"
    if crop is not None:
        return f"In training each photograph was scaled by {crop:g}, antialiased, and seen in windows of {size}."
    if resize == "stretch":
        return f"In training each photograph was stretched to {size}, antialiased."
    return f"In training each photograph was scaled to fit {size}, antialiased, and centred on black."


def framed(
    shown: Shaped[np.ndarray, "_ _ ..."], placement: Placement, fill: int
) -> Shaped[np.ndarray, "height width ..."]:
    """What is `shown` of the scaled picture, in its frame, with `fill` around it."""
    if shown.shape[:2] == placement.target:
        return shown
    frame = np.full((*placement.target, *shown.shape[2:]), fill, shown.dtype)
    frame[placement.window] = shown
    return frame


def restored(
    probabilities: Float32[np.ndarray, "height width outputs"], placement: Placement
) -> Float32[np.ndarray, "full_height full_width outputs"]:
    """What the network says of the frame, as a picture of the full size: the way back.

    The picture's window is cut out and interpolated linearly between the centres of pixels, antialiased where it
    shrinks.
    """
    bands = [band for _, band in restored_bands(probabilities, placement)]
    return bands[0] if len(bands) == 1 else np.concatenate(bands)


def restored_bands(
    probabilities: Float32[np.ndarray, "height width outputs"], placement: Placement
) -> Iterator[tuple[int, Float32[np.ndarray, "_ full_width outputs"]]]:
    """The same in bands of bounded size, each with its first row."""
    inner, (height, width) = probabilities[placement.window], placement.full
    for first, last in bands(0, height, width * inner.shape[-1]):
        yield first, stretched(inner, (last - first, width), Stretch(placement.inner[0] / height, first, last))


def bands(first: int, last: int, values: int) -> Iterator[tuple[int, int]]:
    """The rows `first` to `last` cut into bands of at most BAND values, at so many `values` a row."""
    rows = max(1, BAND // values)
    for start in range(first, last, rows):
        yield start, min(last, start + rows)


class Stretch(NamedTuple):
    """Which rows, `first` to `last`, of a stretched picture are wanted: each takes `ratio` rows of the source.

    `base` is the place, in the whole source, of the first row that is at hand.
    """

    ratio: float
    first: int
    last: int
    base: int = 0


def stretched(
    source: Float32[np.ndarray, "height width outputs"], size: tuple[int, int], rows: Stretch
) -> Float32[np.ndarray, "rows new_width outputs"]:
    """Rows of a stretched picture; the filter reaches for the neighbouring rows of the source."""
    top, bottom = (edge * rows.ratio - rows.base for edge in (rows.first, rows.last))
    if (top, bottom, source.shape[1]) == (0, source.shape[0], size[1]) and source.shape[:2] == size:
        return source
    found = np.empty((*size, source.shape[-1]), np.float32)
    box = (0, top, source.shape[1], min(bottom, source.shape[0]))
    for output in range(source.shape[-1]):
        channel = Image.fromarray(np.ascontiguousarray(source[..., output]))
        found[..., output] = np.asarray(channel.resize((size[1], size[0]), Image.Resampling.BILINEAR, box))
    return found


def check_pixels(full: tuple[int, int], what: str) -> None:
    """Raise a DataError if a picture of this (height, width) has more than MAX_PIXELS."""
    if full[0] * full[1] > MAX_PIXELS:
        raise DataError(
            f"{what} is {full[0]} x {full[1]} (height x width): more than the {MAX_PIXELS} pixels that are decoded. "
            "If that is its real size, cut it into tiles."
        )
