"""Any picture that is to be predicted, as the network sees it."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from jaxseg.data.geometry import Placement, Resize, framed, place
from jaxseg.data.headers import opened
from jaxseg.data.images import ORIENTATION, grey, scaled, to_mode
from jaxseg.errors import InputError

Source = Path | str | Image.Image | Shaped[np.ndarray, "..."]
"""A file, a picture of Pillow's, or an array uint8 [height, width, 3], [height, width, 1] or [height, width]."""

Orientation = Literal["shown", "stored"]
"""`shown`: turned as EXIF says, as viewers show it. `stored`: the pixels as they are, as COCO's masks take them."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What EXIF's orientation asks for; from 5 on height and width are exchanged."""


@contextmanager
def picture_of(source: Source) -> Iterator[Image.Image]:
    """Pillow's picture of it; of a file, not decoded yet.

    Raises:
        DataError: for a file that can't be read.
        InputError: for an array of another type or shape, or a thing that is no picture.
    """
    if isinstance(source, str | Path):
        with opened(Path(source)) as image:
            yield image
    elif isinstance(source, Image.Image):
        source.load()  # so that nothing below changes how it is decoded
        yield source
    elif isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or not (source.ndim == 2 or (source.ndim == 3 and source.shape[2] in (1, 3))):
            raise InputError(
                f"the image is an array {source.dtype} {list(source.shape)}: expected uint8 0..255, "
                "[height, width, 3] (RGB), [height, width, 1] or [height, width] (grey)."
            )
        if not source.size:
            raise InputError(f"the image is an empty array, {list(source.shape)}.")
        yield Image.fromarray(np.ascontiguousarray(source[..., 0] if source.shape[2:] == (1,) else source))
    else:
        raise InputError(f"expected a path, a Pillow image or a NumPy array, found {type(source).__name__}.")


def turn_of(image: Image.Image, orientation: Orientation) -> Image.Transpose | None:
    if orientation == "stored":
        return None
    try:
        return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except (SyntaxError, ValueError, struct.error):  # of EXIF that is broken; viewers show the picture as it is
        return None


def upright(size: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    """Height and width after the turn, or before it: it is the same."""
    return (size[1], size[0]) if turn in (TURNS[5], TURNS[6], TURNS[7], TURNS[8]) else size


def size_of(source: Source, orientation: Orientation) -> tuple[int, int]:
    """Height and width."""
    with picture_of(source) as image:
        return upright((image.height, image.width), turn_of(image, orientation))


def in_frame(
    source: Source, target: tuple[int, int], *, channels: int, resize: Resize, orientation: Orientation
) -> tuple[UInt8[np.ndarray, "height width channels"], Placement]:
    """The picture brought to the network's size by the model's rule, just as training and evaluation see it."""
    with picture_of(source) as image:
        turn = turn_of(image, orientation)
        full = upright((image.height, image.width), turn)
        placement = place(full, target, resize)
        return framed(brought_to(image, placement.inner, turn, channels), placement, fill=0), placement


def shrunk(source: Source, longest: int, *, orientation: Orientation) -> UInt8[np.ndarray, "height width 3"]:
    """The picture to look at, in RGB: its longer side no longer than `longest`."""
    with picture_of(source) as image:
        turn = turn_of(image, orientation)
        full = upright((image.height, image.width), turn)
        return brought_to(image, shrunk_size(full, longest), turn, channels=3)


def shrunk_size(full: tuple[int, int], longest: int) -> tuple[int, int]:
    """`full`, or smaller in the same proportions."""
    return full if max(full) <= longest else place(full, (longest, longest), "letterbox").inner


def brought_to(
    image: Image.Image, size: tuple[int, int], turn: Image.Transpose | None, channels: int
) -> UInt8[np.ndarray, "height width channels"]:
    """Scaled as it is stored, then turned."""
    stored = upright(size, turn)
    placement = Placement((image.height, image.width), stored, (0, 0), stored)
    small = scaled(image, placement, "RGB" if channels == 3 else "L", "pillow")  # masks are the same everywhere
    turned = small if turn is None else small.transpose(turn)
    return np.asarray(turned).reshape(*size, channels)


def decoded(source: Source, *, channels: int, orientation: Orientation) -> Image.Image:
    """The whole picture, upright, in RGB or L."""
    mode = "RGB" if channels == 3 else "L"
    with picture_of(source) as image:
        turn = turn_of(image, orientation)
        if image.mode[0] in "IF":
            found = grey(image, image.size).convert(mode)
        else:
            image.load()
            found = to_mode(image, mode)
        return found if turn is None else found.transpose(turn)


def rows_of(
    image: Image.Image, size: tuple[int, int], first: int, last: int
) -> UInt8[np.ndarray, "rows width channels"]:
    """Rows of the picture as it is when scaled to `size`."""
    if size == (image.height, image.width):
        band = image.crop((0, first, image.width, last))
    elif (first, last) == (0, size[0]):
        band = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    else:
        ratio = image.height / size[0]
        box = (0, first * ratio, image.width, min(image.height, last * ratio))
        band = image.resize((size[1], last - first), Image.Resampling.BILINEAR, box)
    return np.asarray(band).reshape(last - first, size[1], len(image.getbands()))
