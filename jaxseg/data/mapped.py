"""Named arrays in one file, opened by memory map."""

import json
import mmap
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = "jaxseg arrays 1"
LINE = 64  # bytes: of the first line, and what arrays are aligned to
LARGE = 1 << 26  # bytes: larger arrays would take too long to be summed at each opening
EVERY = 16  # uses between two releases of the pages, which keeps them below some 15 MB


class Mapped:
    """Arrays of a file, read-only; `header` is what was kept with them.

    The pages of a map that a process has looked at count as its memory, though the system shares them between all
    processes and may take them back. `touch`, called at each use, gives them back, so that a process stays small.
    """

    def __init__(self, path: Path) -> None:
        """Opens what `save` wrote.

        Raises:
            OSError: if it can't be read.
            ValueError: if it is not whole, or not as it was written; but arrays above LARGE are not looked through.
        """
        with path.open("rb") as file:
            first = file.read(LINE).decode("latin-1")
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if not first.startswith(MAGIC):
            raise ValueError(f"{path} does not begin as such a file does")
        start, length, crc = map(int, first[len(MAGIC) :].split())
        text = self.map[start:]
        if len(text) != length or zlib.crc32(text) != crc:
            raise ValueError(f"{path} does not end as it was written")
        self.path, self.uses = path, 0
        self.header, table = json.loads(text)
        self.arrays: dict[str, Any] = {}
        for name, dtype, shape, offset, crc in table:
            self.arrays[name] = array = np.ndarray(shape, dtype, self.map, offset)
            if crc is not None and zlib.crc32(raw(array)) != crc:
                raise ValueError(f"{path}: {name} is not as it was written")
        self.release()

    def touch(self) -> None:
        self.uses += 1
        if self.uses % EVERY == 0:
            self.release()

    def release(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):  # Windows has none
            self.map.madvise(mmap.MADV_DONTNEED)


def save(path: Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays, and a header of what JSON can hold, down to the disk itself.

    Raises:
        OSError: if there is no room or no permission.
    """
    table = []
    with path.open("wb") as file:
        file.write(b" " * LINE)
        for name, array in arrays.items():
            offset = file.seek(-(-file.tell() // LINE) * LINE)
            file.write(raw(array))
            crc = zlib.crc32(raw(array)) if array.nbytes <= LARGE else None
            table.append([name, array.dtype.str, array.shape, offset, crc])
        start, text = file.tell(), json.dumps([header, table]).encode()
        file.write(text)
        file.seek(0)
        file.write(f"{MAGIC} {start} {len(text)} {zlib.crc32(text)}".encode())
        file.flush()
        os.fsync(file.fileno())


def raw(array: np.ndarray) -> memoryview | bytes:
    return np.ascontiguousarray(array).data.cast("B") if array.size else b""
