"""A folder's digests, by which it shows later that every file is as it was written."""

import errno
import hashlib
import os
from pathlib import Path

DIGESTS = "SHA256SUMS"
"""The file of digests in a folder; `sha256sum --check SHA256SUMS` reads it too."""


def seal(folder: Path) -> None:
    """Write the digests of all files under a folder, and wait until they and the files are on disk."""
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(folder)}\n")
            os.fsync(file.fileno())
    text = "".join(lines)
    with (folder / DIGESTS).open("w") as file:
        file.write(f"{text}# {hashlib.sha256(text.encode()).hexdigest()}\n")
        file.flush()
        os.fsync(file.fileno())
    for path in (*folder.rglob("*/"), folder):
        settle(path)


def settle(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on disk: a power failure changes them no more."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def faults(folder: Path, part: str = "") -> list[str]:
    """What is wrong with a sealed folder, or with the files in it whose names begin with `part`; [] if it is intact.

    Raises:
        OSError: if a file is there and can't be read, other than by a fault of the disk.
    """
    try:
        text, _, own = (folder / DIGESTS).read_bytes().rpartition(b"# ")
    except FileNotFoundError:
        return [f"{DIGESTS} is missing"]
    if own.decode(errors="replace") != hashlib.sha256(text).hexdigest() + "\n":
        return [f"{DIGESTS} has changed since it was written"]
    entries = (line.split("  ", 1) for line in text.decode().splitlines())
    found = (fault(folder, name, digest) for digest, name in entries if name.startswith(part))
    return [line for line in found if line]


def fault(folder: Path, name: str, digest: str) -> str | None:
    try:
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == digest:
                return None
            size = os.fstat(file.fileno()).st_size
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return f"{name} is missing"
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return f"{name} can't be read: the disk has a fault"
    return f"{name} has changed since it was written ({size:,} bytes now)" if size else f"{name} is empty"
