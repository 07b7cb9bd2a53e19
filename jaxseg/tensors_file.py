"""Named arrays to a safetensors file and back: a length, a JSON header, the raw numbers."""

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from jaxseg.errors import InputError
from jaxseg.run import write_whole

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "F32": np.dtype(np.float32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F64": np.dtype(np.float64),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_METADATA = "__metadata__"
_MAX_HEADER = 100_000_000  # bytes; the format's own limit
_MAX_DIMENSIONS = 32


class TensorsError(InputError):
    """A file that is not a sound safetensors file, or tensors that such a file can't hold."""


class TensorsFile(NamedTuple):
    """The contents of a safetensors file: the tensors in the header's order, writable copies; and its texts."""

    tensors: dict[str, np.ndarray]
    metadata: dict[str, str]


def write_safetensors(path: Path | str, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write tensors, in the mapping's order, and texts; the file is whole under its name or not there.

    Raises:
        TensorsError: for a type or a name that the format has not.
    """
    entries: dict[str, Any] = {}
    if metadata:
        entries[_METADATA] = dict(metadata)
    arrays: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        array = np.asarray(value)
        native = array.dtype.newbyteorder("=")
        if not isinstance(name, str) or name == _METADATA or native not in _NAMES:
            raise TensorsError(f"tensor {name!r} of type {array.dtype} can't be in a safetensors file.")
        arrays[name] = np.require(array, native.newbyteorder("<"), "C")
        entries[name] = {"dtype": _NAMES[native], "shape": list(array.shape)}
    laid = sorted(arrays, key=lambda name: -arrays[name].itemsize)  # the widest first, so that all are aligned
    end = 0
    for name in laid:
        entries[name]["data_offsets"] = [end, end := end + arrays[name].nbytes]
    header = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(struct.pack("<Q", len(header)))
            file.write(header)
            for name in laid:
                file.write(arrays[name].reshape(-1).view(np.uint8).data)
            file.flush()
            os.fsync(file.fileno())

    write_whole(Path(path), write)


def read_safetensors(path: Path | str) -> TensorsFile:
    """Read a safetensors file; nothing of it is believed before it is checked.

    Raises:
        TensorsError: for any other file, and for one whose header and data disagree.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            header, start = _header(file, size)
            metadata = _metadata(header.pop(_METADATA, {}))
            slots = {name: _slot(name, entry) for name, entry in header.items()}
            _check_cover(slots, size - start)
            return TensorsFile({name: _load(file, start, slot) for name, slot in slots.items()}, metadata)
    except TensorsError as error:
        raise TensorsError(f"{path} {error}") from None
    except OSError as error:
        raise TensorsError(f"{path} can't be read: {error.strerror or error}.") from error


class _Slot(NamedTuple):
    """Where a tensor lies among the data, and what it is."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The entries by name, and where the data begin."""
    first = file.read(8)
    if len(first) < 8:
        raise TensorsError(f"is no safetensors file: it has only {size} bytes.")
    (length,) = struct.unpack("<Q", first)
    if length > min(size - 8, _MAX_HEADER):
        raise TensorsError(f"is no safetensors file, or cut off: its header would be {length:,} of {size:,} bytes.")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        if isinstance(error, TensorsError):
            raise
        raise TensorsError(f"is no safetensors file: its header is not JSON ({error}).") from error
    if not isinstance(header, dict):
        raise TensorsError("is no safetensors file: its header is not a JSON object.")
    return header, 8 + length


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise TensorsError("is damaged: a name stands twice in its header.")
    return found


def _metadata(found: object) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise TensorsError("is damaged: its metadata are not texts by name.")
    return found


def _slot(name: str, entry: object) -> _Slot:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise TensorsError(f"is damaged: its entry {name[:80]!r} is not a dtype, a shape and data_offsets.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise TensorsError(f"holds {name[:80]!r} of type {str(dtype)[:40]!r}; known are {', '.join(DTYPES)}.")
    if not (_counts(shape) and _counts(offsets)) or len(offsets) != 2 or len(shape) > _MAX_DIMENSIONS:
        raise TensorsError(f"is damaged: the shape or place of {name[:80]!r} can't be.")
    slot = _Slot(DTYPES[dtype], tuple(shape), *offsets)
    if slot.end - slot.begin != math.prod(shape) * slot.dtype.itemsize:
        raise TensorsError(f"is damaged: {name[:80]!r} of shape {shape} and type {dtype} does not fill its place.")
    return slot


def _counts(value: object) -> bool:
    """Whether it is a list of sizes."""
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**62 for item in value)


def _check_cover(slots: Mapping[str, _Slot], available: int) -> None:
    """The tensors must fill the data with no hole, no overlap and no rest: so memory is bounded by the file."""
    end = 0
    for name, slot in sorted(slots.items(), key=lambda item: (item[1].begin, item[1].end)):
        if slot.begin != end:
            raise TensorsError(f"is damaged: {name[:80]!r} begins at byte {slot.begin} of the data, expected {end}.")
        end = slot.end
    if end != available:
        raise TensorsError(f"is cut off or damaged: {available:,} bytes of data, its header describes {end:,}.")


def _load(file: BinaryIO, start: int, slot: _Slot) -> np.ndarray:
    file.seek(start + slot.begin)
    raw = file.read(slot.end - slot.begin)
    if len(raw) != slot.end - slot.begin:
        raise TensorsError("is cut off: it became shorter while it was read.")
    if slot.dtype == np.bool_ and raw.strip(b"\0\1"):
        raise TensorsError("is damaged: a truth value is neither 0 nor 1.")
    return np.frombuffer(raw, slot.dtype.newbyteorder("<")).astype(slot.dtype, copy=True).reshape(slot.shape)
