"""From a COCO `instances` file to its index, which is kept for the next time."""

import copyreg
import glob
import hashlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxseg.data.caches import cache_folder
from jaxseg.data.index import Annotation, CocoIndex
from jaxseg.data.mapped import Mapped, save
from jaxseg.data.rows import Category, Rows, Unusable
from jaxseg.data.stream import TABLES, entries
from jaxseg.errors import DataError
from jaxseg.progress import progress_bar
from jaxseg.run import write_whole

__all__ = ("Annotation", "Category", "CocoIndex", "DataError", "build", "read_index")

VERSION = 3
"""Of what is kept. Raise it with every change of the arrays or of the checks."""

BAD = ("bad_images", "bad_categories")
HEADER = ("digest", "categories", *BAD, "point_scale")
SETTLED = 2.0  # seconds: a file changed twice in less may show the same time twice


class Stamp(NamedTuple):
    """By what a changed file is known, short of reading it."""

    size: int
    modified: int  # nanoseconds


def read_index(path: Path) -> CocoIndex:
    """The index of a COCO `instances` file: the kept one, or else the file is parsed, and its index kept.

    It is kept in the folder JAXSEG_CACHE, known by the file's path, size and time of change. Where it can't be
    written, the index stays in memory, and its `warnings` say so.

    Raises:
        DataError: if the file is missing, is not JSON, or is not COCO, with the place; or if it changes meanwhile.
    """
    stamp = stamp_of(path)
    index = opened(path, stamp)
    return keep(parsed(path, stamp), stamp) if index is None else index


def build(content: Mapping[str, Any], path: Path, digest: str) -> CocoIndex:
    """The index of what a COCO file would hold, in memory."""
    rows = Rows(path)
    rows.add_all((key, entry) for key in TABLES for entry in content[key])
    return CocoIndex(path, digest, **rows.joined())


def stamp_of(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}).") from error
    return Stamp(status.st_size, status.st_mtime_ns)


def parsed(path: Path, stamp: Stamp) -> CocoIndex:
    digest, rows = hashlib.sha256(), Rows(path)
    bar = progress_bar(stamp.size, f"indexing {path.name}", delay=2.0, unit="B")
    with bar, ThreadPoolExecutor(1) as aside:  # which takes the digest

        def watch(raw: bytes) -> None:
            aside.submit(digest.update, raw)
            bar.update(len(raw))

        rows.add_all(entries(path, watch))
    if stamp_of(path) != stamp:
        raise DataError(f"{path} was changed while it was read. Run again when it is whole.")
    return CocoIndex(path, digest.hexdigest(), **rows.joined())


def place(path: Path) -> Path:
    """Where the index of this file is kept, or of another that stood at its path before."""
    path = path.resolve()
    named = hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()[:16]
    return cache_folder() / "indexes" / f"{path.stem[:40]}-{named}.index"


def opened(path: Path, stamp: Stamp) -> CocoIndex | None:
    """The kept index; None where there is none, or it is of another version or state of the file, or not whole."""
    try:
        kept = Mapped(place(path))
    except (OSError, ValueError, RuntimeError):
        return None
    header = kept.header
    if header["version"] != VERSION or header["stamp"] != list(stamp):
        return None
    if not header["settled"] and digest_of(path) != header["digest"]:
        return None
    return mapped(path, kept)


def mapped(path: Path, kept: Mapped) -> CocoIndex:
    header = kept.header
    categories = tuple(Category(*category) for category in header["categories"])
    bad = {name: Unusable(number, tuple(first)) for name in BAD for number, first in (header[name],)}
    return CocoIndex(
        path, header["digest"], categories, **bad, **kept.arrays, point_scale=header["point_scale"], kept=kept
    )


def keep(index: CocoIndex, stamp: Stamp) -> CocoIndex:
    """The index, mapped from where it is kept from now on."""
    header = {
        "version": VERSION,
        "stamp": stamp,
        "settled": time.time() - stamp.modified / 1e9 > SETTLED,
        **{name: getattr(index, name) for name in HEADER},
    }
    arrays = {name: value for name, value in vars(index).items() if isinstance(value, np.ndarray)}
    try:
        file = place(index.path)
        write_whole(file, lambda draft: save(draft, header, arrays))
        remove_drafts(file)
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        return replace(index, unkept=str(error))
    kept = opened(index.path, stamp)  # which is false where it holds no image
    return replace(index, unkept=f"{file} was changed at once by another process") if kept is None else kept


def remove_drafts(file: Path) -> None:
    """What was being written for this file when a process was killed, an hour ago or more."""
    for draft in file.parent.glob(f".{glob.escape(file.stem)}-*"):
        if time.time() - draft.stat().st_mtime > 3600:
            draft.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}).") from error


def reopened(path: Path, digest: str, file: Path) -> CocoIndex:
    """In another process: the same index, whatever became of the JSON since; from the JSON where it is not kept."""
    try:
        index = mapped(path, Mapped(file))
    except (OSError, ValueError):
        index = read_index(path)
    if index.digest != digest:
        raise DataError(f"{path} was changed since the start. Start again.")
    return index


def reduced(index: CocoIndex) -> tuple[Any, ...]:
    """For pickle: where the index is kept, not what is in it."""
    if index.kept is None:
        return CocoIndex, tuple(vars(index).values())
    return reopened, (index.path, index.digest, index.kept.path)


copyreg.pickle(CocoIndex, reduced)
