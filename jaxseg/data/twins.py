"""The images that two splits share: the same file, or files of equal bytes."""

import hashlib
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from jaxseg.data.coco import DataError
from jaxseg.data.layout import image_path
from jaxseg.data.samples import Samples

MOST = 20_000
"""Of more images than these in both, only the names are compared: their files are not opened."""
GLIMPSE = 4096


def twins(first: Samples, second: Samples) -> list[str]:
    """File names of the images of `second` that are in `first` too; files that can't be read are nobody's twins.

    A file is read whole only if another has its length and its middle.
    """
    ours, theirs = paths(first), paths(second)
    same = set(ours) & set(theirs)
    if len(ours) + len(theirs) <= MOST:
        left = set(ours) - same, set(theirs) - same
        for key in (length, middle, digest):
            keys = tuple({path: key(path) for path in paths} for paths in left)
            common = set(keys[0].values()) & set(keys[1].values()) - {None}
            left = tuple({path for path, value in those.items() if value in common} for those in keys)
        same |= left[1]
    return [path.name for path in theirs if path in same]


def paths(samples: Samples) -> list[Path]:
    folder, found = samples.files.images.resolve(), []
    for position in samples.positions:
        with suppress(DataError):  # a name that leaves the folder is told where the image is read
            found.append(image_path(folder, samples.index.file_name(int(position))))
    return found


def length(path: Path) -> Hashable:
    """In bytes; None if there is no such file, it is empty, or it is no regular one: a pipe would wait for ever."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size or None) if S_ISREG(status.st_mode) else None


def middle(path: Path) -> Hashable:
    """The length, and some bytes that no header fills."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - GLIMPSE) // 2)
            return size, file.read(GLIMPSE)
    except OSError:
        return None


def digest(path: Path) -> Hashable:
    try:
        return hashlib.blake2b(path.read_bytes()).digest()
    except OSError:
        return None
