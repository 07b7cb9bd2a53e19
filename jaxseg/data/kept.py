"""The cache of a split's samples: where it lies, what its key is, whether it has room."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import features

from jaxseg.data.caches import cache_folder
from jaxseg.data.coco import CocoIndex, DataError
from jaxseg.data.layout import Files
from jaxseg.data.room import disk_left, memory_left, told
from jaxseg.data.settings import Data
from jaxseg.data.slots import MemorySlots, Slots

NO_MATTER = (
    *("root", "train_json", "train_images", "val_json", "val_images", "test_json", "test_images"),
    *("val_fraction", "test_fraction", "split_seed", "classes", "merge", "negatives", "balance"),
    *("on_error", "retries", "read_timeout", "threads", "workers", "cache", "cache_folder"),
    *("crop", "crop_foreground", "crops"),  # with which nothing is kept
)
"""Settings that change no sample, or only through what `key_of` takes beside them."""

SPARE = 0.1  # of memory and disk, which others need


def open_slots(
    data: Data, files: Files, index: CocoIndex, lookup: UInt8[np.ndarray, " categories"], images: int
) -> Slots | None:
    """The cache that the settings ask for, of at most so many images.

    Raises:
        DataError: if it can't be opened, or would not fit.
    """
    if data.cache == "none":
        return None
    shape, key = (data.height, data.width, data.channels), key_of(data, files, index, lookup)
    if data.cache == "memory":
        if not hasattr(os, "memfd_create"):
            raise DataError("data.cache memory needs Linux. Take --data.cache disk: what fits in memory stays there.")
        slots = MemorySlots(shape, key, images)
    else:
        folder = data.cache_folder or cache_folder() / "samples"
        try:
            slots = Slots(folder / f"{files.json.stem[:40]}-{key:016x}.slots", shape, key, images)
        except OSError as error:
            raise DataError(
                f"data.cache disk: {folder} can't be written ({error.strerror}). Name another by --data.cache-folder."
            ) from error
    check_room([slots])
    return slots


def key_of(data: Data, files: Files, index: CocoIndex, lookup: UInt8[np.ndarray, " categories"]) -> int:
    """Of all that a sample depends on, but for its image file: annotations, settings, classes, code, libraries."""
    settings = {name: value for name, value in dataclasses.asdict(data).items() if name not in NO_MATTER}
    installed = [version(name) for name in ("pillow", "numpy", "pycocotools")]
    decoder = version("simplejpeg") if data.decoder == "simplejpeg" else features.version("jpg")
    libraries = [*installed, decoder]
    parts = [index.digest, str(files.images.resolve()), lookup.tolist(), settings, libraries, code()]
    text = json.dumps(parts, sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def code() -> str:
    """A digest of the code that makes samples: whoever changes it must not be shown what it made before."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check_room(caches: Sequence[Slots | None]) -> None:
    """Raise a DataError if these caches together, once they are filled, would not fit."""
    for kind in (MemorySlots, Slots):
        asked = [slots for slots in caches if type(slots) is kind]
        whole = sum(slots.whole_bytes for slots in asked)
        missing = sum(max(0, slots.whole_bytes - slots.used_bytes()) for slots in asked)
        if not missing:
            continue
        folder = asked[0].path.parent
        left = int((memory_left() if kind is MemorySlots else disk_left(folder)) * (1 - SPARE))
        if missing > left:
            images = sum(slots.images for slots in asked)
            need = f"needs {whole} bytes ({told(whole)}: {images} images of {told(asked[0].slot_bytes)})"
            raise DataError(
                f"data.cache memory {need}, and {told(left)} of memory are free. Take --data.cache disk, a smaller "
                "--data.height and --data.width, or --data.cache none."
                if kind is MemorySlots
                else f"data.cache disk {need}, {told(missing)} of it are missing, and {told(left)} are free where "
                f"{folder} is. Delete what is old there (all of it can be made again), name another "
                "--data.cache-folder, or take --data.cache none."
            )
