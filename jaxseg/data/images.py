"""Image files to arrays of one size."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFile

from jaxseg.data.coco import DataError
from jaxseg.data.geometry import Placement, check_pixels, framed
from jaxseg.data.headers import opened
from jaxseg.data.jpegs import decode_jpeg, installed

Decoder = Literal["auto", "pillow", "simplejpeg"]
Decided = Literal["pillow", "simplejpeg"]
ORIENTATION = 0x0112  # EXIF's tag


def decided(decoder: Decoder) -> Decided:
    """The decoder that is used here."""
    if decoder == "simplejpeg" and not installed():
        raise DataError(
            "data.decoder is 'simplejpeg', which is not installed: pip install simplejpeg, or take --data.decoder "
            "pillow, whose images differ slightly."
        )
    return ("simplejpeg" if installed() else "pillow") if decoder == "auto" else decoder


def read_image(
    path: Path, *, placement: Placement, channels: int, decoder: Decided = "pillow"
) -> UInt8[np.ndarray, "height width channels"]:
    """An image scaled, antialiased, and placed in its frame, with black around it where it is letterboxed.

    JPEGs are decoded at a reduced scale where that suffices: a half, a quarter or an eighth by Pillow, any number of
    eighths by simplejpeg; what that does not read is left to Pillow. Every mode becomes RGB, or grey for one channel;
    transparency is left out, so the colours are those stored. EXIF rotation is not applied: COCO's masks belong to the
    pixels as they are stored. Of several frames the first is read.

    Raises:
        DataError: if the file is missing or broken, or its size is not the `full` one that the JSON says.
    """
    check_pixels(placement.full, f"{path}, by its entry in the JSON,")
    with opened(path, whole=True) as image:
        check_size(image, path, placement.full)
        pixels = np.asarray(scaled(image, placement, "RGB" if channels == 3 else "L", decoder))
    return framed(pixels.reshape(pixels.shape[0], pixels.shape[1], channels), placement, fill=0)


def check_size(image: ImageFile.ImageFile, path: Path, full: tuple[int, int]) -> None:
    """Raise a DataError, with the likely reason, if the image has another size than its entry in the JSON."""
    height, width = image.height, image.width
    if (height, width) == full:
        return
    hint = "Was it resized or rotated?"
    if (width, height) == full:
        turned = image.getexif().get(ORIENTATION, 1)
        hint = (
            f"Height and width are exchanged, and its EXIF orientation {turned} turns it for display: the masks were "
            f"drawn on the turned image. Turn its pixels for good: mogrify -auto-orient {path}"
            if turned in (5, 6, 7, 8)
            else "Height and width are exchanged: was the image rotated, or did the exporter confuse them?"
        )
    raise DataError(
        f"{path} is {height} x {width} (height x width), its entry in the JSON says {full[0]} x {full[1]}: "
        f"the masks would not fit. {hint}"
    )


def scaled(image: Image.Image, placement: Placement, mode: str, decoder: Decided) -> Image.Image:
    """What is shown of the image at the placement's inner size, in RGB or L."""
    rows, columns = placement.shown
    size = (columns.stop - columns.start, rows.stop - rows.start)
    working = "L" if image.mode == "L" else mode  # grey stays grey until it is small
    decoded, box = reduced(image, placement, working, decoder)
    if decoded.mode[0] in "IF":  # whose range only the whole picture shows
        whole = grey(decoded, (placement.inner[1], placement.inner[0])).convert(mode)
        return whole.crop((columns.start, rows.start, columns.stop, rows.stop))
    if not placement.whole:
        width, height = box[2:] if box else decoded.size
        box = part_of(float(width), float(height), placement)
    return to_mode(decoded, working).resize(size, Image.Resampling.BILINEAR, box).convert(mode)


def part_of(width: float, height: float, placement: Placement) -> tuple[float, float, float, float]:
    """The box that is shown of a decoded image of this size; Pillow's filter reaches for the pixels around it."""
    rows, columns = placement.shown
    down, across = height / placement.inner[0], width / placement.inner[1]
    return columns.start * across, rows.start * down, min(width, columns.stop * across), min(height, rows.stop * down)


def reduced(image: Image.Image, placement: Placement, mode: str, decoder: Decided) -> tuple[Image.Image, Any]:
    """The image decoded at a scale that suffices, and the box of it that the image fills.

    A reduced JPEG is rounded up to whole pixels, which would shift the picture against its mask.
    """
    is_jpeg = image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L")
    if decoder == "simplejpeg" and is_jpeg and isinstance(image, ImageFile.ImageFile) and image.fp:
        found = decode_jpeg(image.fp, placement.full, placement.inner, mode)
        if found is not None:
            pixels, scale = found
            return Image.fromarray(pixels), (0, 0, image.width * scale, image.height * scale)
    draft = image.draft(mode, (placement.inner[1], placement.inner[0]))
    return image, draft[1] if draft else None


def grey(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """16-bit or floating greys to 8 bits, scaled, not cut. Floats are 0 to 1, or 0 to 255 if any is above 1."""
    values = np.nan_to_num(np.asarray(image.convert("F").resize(size, Image.Resampling.BILINEAR)))
    if image.mode.startswith("I"):
        values = values / 257
    elif values.max() <= 1:
        values = values * 255
    return Image.fromarray((np.clip(values, 0, 255) + 0.5).astype(np.uint8))


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """RGB or L, 8 bits; transparency is left out."""
    if image.mode == mode:
        return image
    if image.mode == "LAB":
        from PIL import ImageCms  # Pillow may have been built without it

        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, rgb, "LAB", "RGB")) or image
    return (image.convert("RGBA") if image.mode == "P" else image).convert(mode)
