"""Checkpoint files put together by hand, from pieces of pickles of protocol 2; arrays to put in them."""

import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
SIX = np.arange(6, dtype=np.float32)
DTYPES = [
    *(np.dtype(name) for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")),
    *(np.dtype(name) for name in ("float16", "float32", "float64")),
    np.dtype(ml_dtypes.bfloat16),
]


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def numbers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def function(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def storage(key="0", kind="torch.FloatStorage", total=6, view=b"") -> bytes:
    return b"(" + text("storage") + function(kind) + text(key) + text("cpu") + number(total) + view + b"tQ"


def tensor(offset=0, shape=(2, 3), strides=(3, 1), stored=None, rest=b"") -> bytes:
    stored = storage() if stored is None else stored
    arguments = stored + number(offset) + numbers(shape) + numbers(strides) + b"\x89" + b"}" + rest
    return function("torch._utils._rebuild_tensor_v2") + b"(" + arguments + b"tR"


def mapping(*items: bytes, **named: bytes) -> bytes:
    return b"}(" + b"".join([*items, *(text(name) + value for name, value in named.items())]) + b"u"


def archive(path, value: bytes, storages=(SIX,), order="little", compression=zipfile.ZIP_STORED, **records) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("top/data.pkl", b"\x80\x02" + value + b".")
        file.writestr("top/byteorder", order)
        file.writestr("top/version", "3\n")
        for key, array in enumerate(storages):
            file.writestr(f"top/data/{key}", array.tobytes())
        for name, content in records.items():
            file.writestr(f"top/{name}", content)


def legacy(path, value: bytes, storages=None, counts=None) -> None:
    storages = {"0": SIX} if storages is None else storages
    with open(path, "wb") as file:
        file.write(MAGIC + b"\x80\x02" + value + b"." + pickle.dumps(list(storages), 2))
        for key, array in storages.items():
            file.write(struct.pack("<q", (counts or {}).get(key, array.size)) + array.tobytes())


def random_bits(dtype: np.dtype, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Every bit pattern can occur, so NaNs with payloads do."""
    bits = np.random.default_rng(seed).integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    if dtype == np.bool_:
        bits %= 2
    return bits.view(dtype)[..., 0]


def bits(array: np.ndarray) -> bytes:
    return np.asarray(array).tobytes()


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert bits(found[name]) == bits(array), name
