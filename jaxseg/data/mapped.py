"""Named arrays in one file, opened by memory map."""

import json
import math
import mmap
import os
import weakref
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from jaxseg.errors import DataError

MAGIC = "jaxseg arrays 1"
LINE = 64  # bytes: of the first line, and what arrays are aligned to
LARGE = 1 << 28  # bytes: larger arrays would take too long to be summed at each opening
CHUNK = 1 << 20


class Mapped:
    """Arrays of a file, read-only; `header` is what was kept with them.

    The system shares the pages of a map between all processes, and takes them back as it likes. Still the pages that a
    process has looked at count as its memory, two megabytes at a time. So what is used row by row, all day, is better
    had by `rows`, which reads.
    """

    def __init__(self, path: Path) -> None:
        """Opens what `save` wrote.

        Raises:
            OSError: if it can't be read.
            ValueError: if it is not whole, or not as it was written; but arrays above LARGE are not looked through.
        """
        self.path = path
        with path.open("rb") as file:
            first = file.read(LINE).decode("latin-1")
            if not first.startswith(MAGIC):
                raise ValueError(f"{path} does not begin as such a file does")
            start, length, crc = map(int, first[len(MAGIC) :].split())
            file.seek(start)
            text = file.read()
            if len(text) != length or zlib.crc32(text) != crc:
                raise ValueError(f"{path} does not end as it was written")
            self.header, table = json.loads(text)
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.descriptor = os.dup(file.fileno())
            weakref.finalize(self, os.close, self.descriptor)
            self.arrays: dict[str, Any] = {}
            self.places: dict[str, int] = {}
            for name, dtype, shape, place, crc in table:
                self.arrays[name] = array = np.ndarray(shape, dtype, self.map, place)
                self.places[name] = place
                file.seek(place)
                if crc is not None and summed(file, array.nbytes) != crc:
                    raise ValueError(f"{path}: {name} is not as it was written")

    def rows(self, name: str, first: int, last: int) -> Shaped[np.ndarray, "rows ..."]:
        """`arrays[name][first:last]`, read.

        Raises:
            DataError: if the file is shorter than it was, where the map would kill the process.
        """
        array = self.arrays[name]
        if not hasattr(os, "pread"):  # Windows
            return array[first:last]
        size = array.itemsize * math.prod(array.shape[1:])
        raw = os.pread(self.descriptor, (last - first) * size, self.places[name] + first * size)
        if len(raw) != (last - first) * size:
            raise DataError(f"{self.path} was changed while it was in use. Start again.")
        return np.frombuffer(raw, array.dtype).reshape(-1, *array.shape[1:])


def save(path: Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays, and a header of what JSON can hold, down to the disk itself.

    Raises:
        OSError: if there is no room or no permission.
    """
    table = []
    with path.open("wb") as file:
        file.write(b" " * LINE)
        for name, array in arrays.items():
            place = file.seek(-(-file.tell() // LINE) * LINE)
            raw = np.ascontiguousarray(array).data.cast("B") if array.size else b""
            file.write(raw)
            table.append([name, array.dtype.str, array.shape, place, zlib.crc32(raw) if len(raw) <= LARGE else None])
        start, text = file.tell(), json.dumps([header, table]).encode()
        file.write(text)
        file.seek(0)
        file.write(f"{MAGIC} {start} {len(text)} {zlib.crc32(text)}".encode())
        file.flush()
        os.fsync(file.fileno())


def summed(file: Any, length: int) -> int:
    """The checksum of the next bytes of a file."""
    crc = 0
    for done in range(0, length, CHUNK):
        crc = zlib.crc32(file.read(min(CHUNK, length - done)), crc)
    return crc
