"""What a disk refuses (it is full, read-only, gone), told to the reader once for each kind, with what to do."""

import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM)
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
REFUSALS = (*FULL, *FORBIDDEN, errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE)
"""What a disk may answer at any time, whatever the program does."""


def warn(text: str) -> None:
    """A line on standard error, between progress bars."""
    tqdm.write(f"warning: {text}", file=sys.stderr)


def kind(error: BaseException) -> int | None:
    """The system's number of the error; None if it did not come from the system.

    Tensorstore's errors are ValueErrors that carry it in their text.
    """
    if isinstance(error, OSError):
        return errno.ENOSPC if error.errno in FULL else error.errno
    found = re.search(r"\[os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else None


def reason(error: BaseException) -> str:
    """`No space left on device`, or the first line of an error that did not come from the system."""
    number = kind(error)
    if number is not None:
        return os.strerror(number)
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def advice(error: BaseException, folder: Path) -> str:
    """What the reader can do about it."""
    number = kind(error)
    if number == errno.ENOSPC:
        return f"Make room: {free(folder)}."
    if number == errno.EROFS:
        return f"The file system of {folder} is read-only: mount it writable again; after a fault, check the disk."
    if number in FORBIDDEN:
        return f"Give this user (id {os.getuid()}) the right to read and write {folder}."
    if number in GONE:
        return f"{folder}, or something in it, was deleted or moved: put it back, or mount it again."
    if number is not None:
        return f"Look at the disk of {folder}: the system's log may say more."
    return f"Look into {folder}."


def refusal(folder: Path) -> OSError | None:
    """What the disk answers now to a small file, if it refuses it."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def free(folder: Path) -> str:
    """How much room is left on the disk of a folder, or of the nearest one above that is there."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return f"{shutil.disk_usage(there).free / 2**20:,.1f} MiB are free on the disk of {folder}"


class Troubles:
    """Tells what can't be written: each kind once, until it is over, which it tells too."""

    def __init__(self) -> None:
        self.told: dict[int | str, str] = {}

    def tell(self, what: str, error: BaseException, folder: Path, then: str) -> None:
        """`what` could not be written, and what the run does about it."""
        key = kind(error) or type(error).__name__
        if key not in self.told:
            self.told[key] = what
            warn(f"{what} can't be written: {reason(error)}. {advice(error, folder)} {then}")

    @contextmanager
    def lived_with(self, what: str, folder: Path) -> Iterator[None]:
        """For what the run can do without: the disk's refusal is told, and that is all."""
        try:
            yield
        except OSError as error:
            self.tell(what, error, folder, "Training goes on without it.")
        else:
            self.over(what)

    def over(self, what: str) -> None:
        """`what` is written now, with all that it had missed."""
        kinds = [key for key, source in self.told.items() if source == what]
        for key in kinds:
            del self.told[key]
        if kinds:
            warn(f"{what} could be written again.")
