"""Image files, opened to their header: nothing is decoded yet, and what should not be is refused."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from jaxseg.data.coco import DataError
from jaxseg.data.geometry import check_pixels
from jaxseg.data.patience import LASTING, Unavailable, Vanished

READERS = {
    "JPEG": JpegImagePlugin,
    "PNG": PngImagePlugin,
    "WEBP": WebPImagePlugin,
    "TIFF": TiffImagePlugin,
    "BMP": BmpImagePlugin,
    "GIF": GifImagePlugin,
    "JPEG2000": Jpeg2KImagePlugin,
    "AVIF": AvifImagePlugin,
    "PPM": PpmImagePlugin,
}
"""The formats that are read; to import a reader registers it."""

WHOLE = 2**26  # bytes
SPARE = 2**24  # bytes that a decoder may need beside the picture


@contextmanager
def opened(path: Path, *, whole: bool = False) -> Iterator[ImageFile.ImageFile]:
    """The image of a file, its first frame, not decoded; with `whole`, all its bytes are read before, if not too many.

    Raises:
        Unavailable: if the file is missing, or can't be read or not whole, which may pass.
        DataError: if it is no regular file (a pipe would wait for ever), empty, in none of the formats of
            READERS, or too large; and for whatever Pillow raises on a broken file, here or in the `with` block.
    """
    needed = SPARE
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise unreadable(path, "it is a folder" if S_ISDIR(status.st_mode) else "it is no regular file")
        if not status.st_size:
            raise unreadable(path, "the file is empty")
        with path.open("rb") as file, read_header(content(file, path) if whole else file, path) as image:
            check_pixels((image.height, image.width), str(path))
            needed += 16 * image.height * image.width
            yield image
    except DataError:
        raise
    except MemoryError as error:
        bytearray(needed)  # fails as well where it is the machine that lacks memory
        raise unreadable(path, "its decoder asks for far more memory than its size needs") from error
    except FileNotFoundError as error:
        raise Vanished(str(unreadable(path, "no such file"))) from error
    except Exception as error:  # Pillow's decoders raise almost anything on a broken file
        passing = isinstance(error, OSError) and error.errno is not None and error.errno not in LASTING
        raise (Unavailable if passing else DataError)(str(unreadable(path, error))) from error


def content(file: Any, path: Path) -> Any:
    """What the file holds, if it is no larger than photographs are; else a short read looks like a short file."""
    size = os.fstat(file.fileno()).st_size
    if size > WHOLE:
        return file
    raw = file.read()
    if len(raw) != size:
        raise Unavailable(str(unreadable(path, f"{len(raw)} of its {size} bytes came")))
    return BytesIO(raw)


def unreadable(path: Path, reason: object) -> DataError:
    return DataError(f"{path} can't be read as an image: {reason}.")


def read_header(file: Any, path: Path) -> ImageFile.ImageFile:
    """As `Image.open`, without its warnings and its limit, which are settings of the whole process, and its formats
    that run other programs.
    """
    start = file.read(16)
    for name in READERS:
        reader, accepts = Image.OPEN[name]
        if accepts is not None and accepts(start) is True:
            file.seek(0)
            return reader(file, str(path))
    raise unreadable(path, f"it is none of {', '.join(READERS)}")
