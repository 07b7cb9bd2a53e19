"""Named arrays to a checkpoint file that torch.load reads."""

import math
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxseg.pth.tensors import DTYPES, STORAGES
from jaxseg.pth.unpickle import PthError
from jaxseg.run import write_whole

_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_STORAGE_NAMES = {dtype: name for name, dtype in STORAGES.items() if "ntyped" not in name}
_ALIGNMENT = 64


def write_pth(path: Path | str, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict that `torch.load(path, weights_only=True)` reads (PyTorch 1.6 and later; `mmap=True` too).

    The zip format of torch.save, in the mapping's order. The same tensors give the same bytes. Types: bool, (u)int8 to
    64, float16, bfloat16 (`ml_dtypes`), float32, float64; uint16 to uint64 need PyTorch 2.3. The file appears under its
    name only when it is complete and on the disk; a failure leaves what was there before.
    """
    arrays = {name: _native(name, value) for name, value in tensors.items()}

    def write(draft: Path) -> None:
        with draft.open("wb") as file:
            _write_archive(file, arrays)

    write_whole(Path(path), write)


def _native(name: str, value: np.ndarray) -> np.ndarray:
    """The value as an array of a type that PyTorch has."""
    array = np.asarray(value)
    if array.dtype.newbyteorder("=") not in _DTYPE_NAMES:
        known = ", ".join(str(dtype) for dtype in _DTYPE_NAMES)
        raise PthError(f"tensor {name} is of type {array.dtype}; cast it to one of {known}.")
    return array


def _write_archive(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    # Without PyTorch's `.format_version`, which would let it compute where records lie rather than look.
    with zipfile.ZipFile(file, "w") as archive:
        _write_record(file, archive, "data.pkl", _pickled(arrays))
        _write_record(file, archive, "byteorder", b"little")
        for key, array in enumerate(arrays.values()):
            little = np.require(array, array.dtype.newbyteorder("<"), "C")
            _write_record(file, archive, f"data/{key}", little.reshape(-1).view(np.uint8).data)
        _write_record(file, archive, "version", b"3\n")


def _write_record(file: BinaryIO, archive: zipfile.ZipFile, name: str, content: bytes | memoryview) -> None:
    """Adds a record whose content begins at a multiple of 64 bytes, as `mmap=True` likes it."""
    info = zipfile.ZipInfo(f"archive/{name}")  # dated 1980
    info.create_system = 0
    info.file_size = len(content)
    zip64 = 20 if info.file_size * 1.05 > zipfile.ZIP64_LIMIT else 0  # zipfile's own rule and field
    padding = -(file.tell() + 30 + len(info.filename) + zip64 + 4) % _ALIGNMENT
    info.extra = b"FB" + struct.pack("<H", padding) + bytes(padding)
    archive.writestr(info, content)


def _pickled(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A pickle of protocol 2 like torch.save's: an OrderedDict of contiguous tensors, each with its own storage."""
    empty_dict = _global("collections.OrderedDict") + b")R"
    parts = [b"\x80\x02", empty_dict, b"("]
    for key, (name, array) in enumerate(arrays.items()):
        dtype = array.dtype.newbyteorder("=")
        old = dtype in _STORAGE_NAMES  # PyTorch's later types have no storage type of their own, and are named instead
        strides = [math.prod(max(size, 1) for size in array.shape[axis + 1 :]) for axis in range(array.ndim)]
        parts += [
            _text(name),
            _global("torch._utils._rebuild_tensor_v2" if old else "torch._utils._rebuild_tensor_v3"),
            b"((",
            _text("storage"),
            _global(_STORAGE_NAMES[dtype] if old else "torch.storage.UntypedStorage"),
            _text(str(key)),
            _text("cpu"),
            _number(array.size if old else array.nbytes),
            b"tQ",
            _number(0),
            _numbers(array.shape),
            _numbers(strides),
            b"\x89",
            empty_dict,
            b"" if old else _global(_DTYPE_NAMES[dtype]),
            b"tR",
        ]
    return b"".join([*parts, b"u."])


def _global(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def _text(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _number(number: int) -> bytes:
    return b"J" + struct.pack("<i", number) if number < 2**31 else b"\x8a\x08" + struct.pack("<q", number)


def _numbers(numbers: Iterable[int]) -> bytes:
    return b"(" + b"".join(map(_number, numbers)) + b"t"
