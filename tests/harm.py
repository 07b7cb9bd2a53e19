"""Ways to spoil a file, as disks and people do."""

import os
from collections.abc import Callable
from pathlib import Path


def flip(path: Path, at: int | None = None) -> None:
    """One bit of one byte, the middle one."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


HARMS: dict[str, Callable[[Path], None]] = {"flip": flip, "truncate": truncate, "empty": empty, "remove": Path.unlink}
