"""Image files to arrays of one size."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxseg.data.coco import DataError
from jaxseg.data.geometry import Placement, framed


def read_image(path: Path, *, placement: Placement, channels: int) -> UInt8[np.ndarray, "height width channels"]:
    """An image scaled, antialiased, and placed in its frame, with black around it where it is letterboxed.

    JPEGs are decoded at a reduced scale where that suffices. Every mode becomes RGB, or grey for one channel.
    EXIF rotation is not applied: COCO's masks belong to the pixels as they are stored.

    Raises:
        DataError: if the file is missing or broken, or its size is not the `full` one that the JSON says.
    """
    try:
        with Image.open(path) as image:
            if (image.height, image.width) != placement.full:
                raise DataError(
                    f"{path} is {image.height} x {image.width} (height x width), its entry in the JSON says "
                    f"{placement.full[0]} x {placement.full[1]}: the masks would not fit. Was it resized or rotated?"
                )
            mode = "RGB" if channels == 3 else "L"
            size = (placement.inner[1], placement.inner[0])
            # A reduced JPEG is rounded up to whole pixels; `box` is the part of it that the image fills.
            reduced = image.draft(mode, size)
            box = reduced[1] if reduced else None
            pixels = to_mode(image, mode).resize(size, Image.Resampling.BILINEAR, box)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise almost anything on a broken file
        reason = "no such file" if isinstance(error, FileNotFoundError) else error
        raise DataError(f"{path} can't be read as an image: {reason}.") from error
    return framed(np.asarray(pixels).reshape(*placement.inner, channels), placement, fill=0)


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """RGB or L, 8 bits; 16-bit greys are scaled, not cut; transparency is left out."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float32) / 257
        return Image.fromarray(np.clip(grey + 0.5, 0, 255).astype(np.uint8)).convert(mode)
    return (image.convert("RGBA") if image.mode == "P" else image).convert(mode)
