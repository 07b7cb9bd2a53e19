"""Decoded samples, kept in the slots of a file for later epochs, other processes and the next run."""

import os
import warnings
import weakref
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8, UInt64

SPREAD = 0x9E3779B97F4A7C15  # an odd number, to spread positions over 64 bits


class Stamp(NamedTuple):
    """What tells that an image file is still the one that was read: its size, and nanoseconds of its last change."""

    size: int
    modified: int


def stamp_of(path: Path) -> Stamp | None:
    """None where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_size, found.st_mtime_ns % 2**64)


class Slots:
    """Images with their masks by position, in a file of slots of one size; shared by all who open it.

    A slot is the image, the mask, the stamp of the image's file, and a check number over all these, the position and
    the `key` of what the pixels depend on. It is believed only if everything agrees. So whatever a kill, a power cut,
    a full disk or two writers leave behind is a slot that is empty, and is filled again.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], key: int, images: int) -> None:
        self.path, self.shape, self.key, self.images = path, shape, key, images
        height, width, channels = shape
        self.image_bytes, self.mask_bytes = height * width * channels, height * width
        self.words = -(-(self.image_bytes + self.mask_bytes) // 8) + 3
        # Odd, so that no change of a single word goes unnoticed; of several, one in 2**63.
        self.weights = np.random.PCG64(self.words).random_raw(self.words - 1) | np.uint64(1)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = kept_open(self, os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))
        self.refused: set[str] = set()  # what the disk will not be asked for again

    def __reduce__(self) -> tuple:
        """Another process opens the file itself."""
        return Slots, (self.path, self.shape, self.key, self.images)

    @property
    def slot_bytes(self) -> int:
        """Of one sample."""
        return self.words * 8

    @property
    def whole_bytes(self) -> int:
        """Of the `images` that may be kept: the file takes no more of memory or disk."""
        return self.slot_bytes * self.images

    def check(self, words: UInt64[np.ndarray, " words"], position: int) -> int:
        """The check number; never that of a slot of zeros."""
        return (int(np.dot(words, self.weights)) + self.key + (position + 1) * SPREAD) % 2**64 or 1

    def get(
        self, position: int, stamp: Stamp
    ) -> tuple[UInt8[np.ndarray, "height width channels"], UInt8[np.ndarray, "height width"]] | None:
        """What was put there for a file of this stamp; None for a slot that is empty or not to be believed.

        Where the disk fails, that is told once, and nothing more is read.
        """
        if "read" in self.refused:
            return None
        record = np.empty(self.words, np.uint64)
        try:
            if os.preadv(self.file, [record.data], position * self.slot_bytes) < self.slot_bytes:
                return None
        except OSError as error:
            self.refuse("read", error, "all is decoded")
            return None
        if record[-1] != self.check(record[:-1], position) or (int(record[-3]), int(record[-2])) != stamp:
            return None
        pixels = record.view(np.uint8)
        image = pixels[: self.image_bytes].reshape(self.shape)
        return image, pixels[self.image_bytes :][: self.mask_bytes].reshape(self.shape[:2])

    def put(
        self,
        position: int,
        stamp: Stamp,
        image: UInt8[np.ndarray, "height width channels"],
        mask: UInt8[np.ndarray, "height width"],
    ) -> None:
        """Keep a sample. Where there is no room, that is told once, and nothing more is kept."""
        if "written" in self.refused:
            return
        record = np.zeros(self.words, np.uint64)
        pixels = record.view(np.uint8)
        pixels[: self.image_bytes] = image.ravel()
        pixels[self.image_bytes :][: self.mask_bytes] = mask.ravel()
        record[-3:-1] = stamp
        record[-1] = self.check(record[:-1], position)
        try:
            os.pwrite(self.file, record.data, position * self.slot_bytes)
        except OSError as error:
            self.refuse("written", error, "no more is kept")

    def refuse(self, what: str, error: OSError, then: str) -> None:
        if what not in self.refused:  # of several threads
            self.refused.add(what)
            warnings.warn(f"data.cache: {self.path} can't be {what} ({error.strerror}); {then}.", stacklevel=3)

    def used_bytes(self) -> int:
        """What the file takes of the disk already."""
        return os.fstat(self.file).st_blocks * 512


class MemorySlots(Slots):
    """Slots in memory, without a name on any disk: gone when the last process that has them open ends, however."""

    def __init__(self, shape: tuple[int, int, int], key: int, images: int) -> None:
        memory = kept_open(self, os.memfd_create("jaxseg-samples"))
        super().__init__(Path(f"/proc/{os.getpid()}/fd/{memory}"), shape, key, images)


def kept_open(owner: Slots, descriptor: int) -> int:
    """The descriptor, which is closed when its owner is gone."""
    weakref.finalize(owner, os.close, descriptor)
    return descriptor
