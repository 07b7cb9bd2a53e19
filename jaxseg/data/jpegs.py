"""JPEGs by simplejpeg, decoded at the smallest scale that suffices."""

import functools
import importlib.util
from typing import Any

import numpy as np
from jaxtyping import UInt8

COLOURS = {"RGB": "RGB", "L": "GRAY"}


@functools.cache
def installed() -> bool:
    """True if simplejpeg is there; it comes with the extra `fast`."""
    return importlib.util.find_spec("simplejpeg") is not None


def decode_jpeg(
    file: Any, full: tuple[int, int], least: tuple[int, int], mode: str
) -> tuple[UInt8[np.ndarray, "height width ..."], float] | None:
    """The pixels of a JPEG at the smallest of 1/8, 2/8 .. 8/8 that is no smaller than `least`, and that scale.

    None for what is not a whole, sound file: that is for Pillow to judge.
    """
    import simplejpeg

    most = 3 * full[0] * full[1] + 2**16  # a file larger than its pixels is not read at once
    file.seek(0)
    content = file.read(most + 1)
    if len(content) > most:
        return None
    eighths = next(
        n for n in range(1, 9) if n == 8 or all(-(-f * n // 8) >= t for f, t in zip(full, least, strict=True))
    )
    height, width = (-(-side * eighths // 8) for side in full)
    try:
        pixels = simplejpeg.decode_jpeg(content, COLOURS[mode], min_height=height, min_width=width)
    except ValueError:
        return None
    return (pixels if mode == "RGB" else pixels[..., 0], eighths / 8) if pixels.shape[:2] == (height, width) else None
