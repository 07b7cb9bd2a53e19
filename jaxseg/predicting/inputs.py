"""The files that are to be predicted, and what their outputs are called."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxseg.errors import InputError

IMAGES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif"}
    | {".jp2", ".j2k", ".jpx", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"}
)
"""Endings of what is taken from a folder."""
VIDEOS = frozenset((".mp4", ".mov", ".mkv", ".avi", ".webm"))
"""Endings of a video; one is predicted where it is named itself."""
FOLDERS = ("mask", "overlay", "probability")
"""In the folder of the outputs."""


class Item(NamedTuple):
    """A file, its `name` below what was given, with `/`; and the `stem` of its outputs, which no other file has.

    Its `stamp` is its size and the time when it was changed last; of what is not there, -1.
    """

    path: Path
    name: str
    stem: str
    stamp: tuple[int, int] = (-1, -1)

    @property
    def is_video(self) -> bool:
        """By its ending."""
        return self.path.suffix.lower() in VIDEOS


def find_items(inputs: Sequence[Path | str], out: Path) -> list[Item]:
    """The files given, and the images in the folders given and below, in order; of `out`, what is written is left out.

    Of one folder the names are below it; of several inputs, below the folder that they share.

    Raises:
        InputError: if one is not there, or there is no image in a folder.
    """
    paths = [Path(path) for path in inputs]
    if not paths:
        raise InputError("no image to predict: give files, or a folder.")
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder.")
    root = shared_folder(paths)
    found: dict[str, Path] = {}
    for path in paths:
        files = list(images_below(path, out)) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path} holds no image, nor do the folders in it: expected {' '.join(sorted(IMAGES))}.")
        for file in files:
            found.setdefault(Path(os.path.relpath(os.path.abspath(file), root)).as_posix(), file)
    names = sorted(found)
    return [
        Item(found[name], name, stem, stamp_of(found[name])) for name, stem in zip(names, stems(names), strict=True)
    ]


def stamp_of(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def shared_folder(paths: Sequence[Path]) -> str:
    folders = [os.path.abspath(path if path.is_dir() else path.parent) for path in paths]
    try:
        return os.path.commonpath(folders)
    except ValueError:
        raise InputError("the inputs lie on several drives: give those of one at a time.") from None


def images_below(folder: Path, out: Path) -> Iterator[Path]:
    """Hidden files and folders, and what is no image by its ending, are passed over.

    A folder that can't be listed is given as if it were an image, so that it is told and counted as one.
    """
    written = {os.path.realpath(path) for path in (out, *(out / name for name in FOLDERS))}
    faulty: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=lambda error: faulty.append(Path(error.filename))):
        folders[:] = [
            name for name in folders if not name.startswith(".") and os.path.realpath(Path(parent, name)) not in written
        ]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGES:
                yield Path(parent, name)
    yield from faulty


def stems(names: Sequence[str]) -> list[str]:
    """Names without their endings; where two would be the same, with them. On every file system they differ."""
    short = [name.removesuffix(Path(name).suffix) for name in names]
    chosen = short
    while True:
        counts = Counter(stem.casefold() for stem in chosen)
        clashing = [counts[stem.casefold()] > 1 and stem != name for stem, name in zip(chosen, names, strict=True)]
        if not any(clashing):
            return list(chosen)
        chosen = [name if clash else stem for stem, name, clash in zip(chosen, names, clashing, strict=True)]
