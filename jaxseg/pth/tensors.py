"""The tensors a checkpoint's pickle describes, and their arrays, cut from the file's bytes within checked bounds."""

import math
import mmap
import sys
from dataclasses import dataclass
from typing import NamedTuple

import ml_dtypes
import numpy as np

from jaxseg.pth.unpickle import Answers, Name, Opaque, PthError, damaged, fill, shown, unpickle

STORAGES = {
    "torch.FloatStorage": np.dtype(np.float32),
    "torch.DoubleStorage": np.dtype(np.float64),
    "torch.HalfStorage": np.dtype(np.float16),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype(np.int64),
    "torch.IntStorage": np.dtype(np.int32),
    "torch.ShortStorage": np.dtype(np.int16),
    "torch.CharStorage": np.dtype(np.int8),
    "torch.ByteStorage": np.dtype(np.uint8),
    "torch.BoolStorage": np.dtype(np.bool_),
    "torch.storage.UntypedStorage": np.dtype(np.uint8),
    "torch.storage._UntypedStorage": np.dtype(np.uint8),
}
DTYPES = {f"torch.{dtype.name}": dtype for dtype in STORAGES.values()} | {
    f"torch.{name}": np.dtype(name) for name in ("uint16", "uint32", "uint64")
}
_TYPES = ("torch.Tensor", "torch.nn.parameter.Parameter")
_OPAQUE = (  # what training scripts keep beside the weights
    "argparse.Namespace",
    "collections.Counter",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "torch.device",
)
_CALLS = (
    "collections.OrderedDict",
    "torch.Size",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._tensor._rebuild_from_type_v2",
)
_NAMES = frozenset((*STORAGES, *DTYPES, *_TYPES, *_OPAQUE, *_CALLS))
_MAX_DIMENSIONS = 32
_MAX_NUMBER = 2**62


@dataclass(frozen=True, slots=True)
class Storage:
    """Elements [start, start + count) of the `total` elements that the file keeps under `key`."""

    key: str
    dtype: np.dtype
    total: int
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """A strided view of a storage; offset and strides count elements of `dtype`. Its bounds are not checked yet."""

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The size of its array; of an empty tensor, with its zeros read as ones."""
        return math.prod(max(size, 1) for size in self.shape) * self.dtype.itemsize


class Pickled(NamedTuple):
    """A pickle's value, with `Tensor` for each tensor; where it ends; and the storages it mentions, by key."""

    value: object
    end: int
    storages: dict[str, Storage]


def unpickle_tensors(data: bytes | mmap.mmap, start: int, stop: int) -> Pickled:
    """Reads the pickle of tensors that begins at `start`."""
    storages: dict[str, Storage] = {}

    def fetch(description: object) -> Storage:
        match description:
            case ("storage", Name(kind), str(key), _, int(total), *view) if (
                kind in STORAGES and len(key) < 1000 and len(view) <= 1
            ):
                whole = Storage(key, STORAGES[kind], total, 0, total)
            case _:
                raise PthError(f"asks for a stored object that is no storage of a known type ({_kind(description)}).")
        if not 0 <= total < _MAX_NUMBER or storages.setdefault(key, whole) != whole:
            raise damaged()
        match view:
            case [] | [None]:
                return whole
            case [(str(), int(first), int(count))] if 0 <= first <= first + count <= total:
                return Storage(key, whole.dtype, total, first, count)
        raise damaged()

    value, end = unpickle(data, start, stop, Answers(_NAMES, _call, fetch))
    return Pickled(value, end, storages)


def _kind(description: object) -> str:
    """What a persistent id asks for, in words."""
    match description:
        case (str(kind), *_):
            return shown(kind)
    return type(description).__name__


def _call(name: str, arguments: tuple) -> object:
    if name in _OPAQUE:
        return Opaque()
    match name.rpartition(".")[2], arguments:
        case "OrderedDict", ():
            return {}
        case "OrderedDict", (list(pairs),) if all(type(pair) is list and len(pair) == 2 for pair in pairs):
            fill(ordered := {}, [(key, value) for key, value in pairs])  # Python 2 wrote it so
            pairs.clear()  # or a file could have it copied many times
            return ordered
        case "Size", (tuple(shape),):
            return shape
        case "_rebuild_tensor", (Storage() as storage, offset, shape, strides):
            return _tensor(storage, storage.dtype, offset, shape, strides)
        case "_rebuild_tensor_v2", (Storage() as storage, offset, shape, strides, _, _, *rest) if len(rest) <= 1:
            return _tensor(storage, storage.dtype, offset, shape, strides, *rest)
        case "_rebuild_tensor_v3", (Storage() as storage, offset, shape, strides, _, _, Name(dtype), *rest) if (
            len(rest) <= 1
        ):
            if dtype in DTYPES:
                return _tensor(storage, DTYPES[dtype], offset, shape, strides, *rest)
        case "_rebuild_parameter" | "_rebuild_parameter_with_state", (Tensor() as tensor, *_):
            return tensor
        case "_rebuild_from_type_v2", (Name(function), Name(kind), tuple(inner), _):
            if kind in _TYPES and "_rebuild_tensor" in function:
                return _call(function, inner)
    raise PthError(
        f"asks to call {name} in a way that PyTorch does not: the file is damaged or made by something else."
    )


def _tensor(
    storage: Storage, dtype: np.dtype, offset: object, shape: object, strides: object, metadata: object = None
) -> Tensor:
    if metadata:
        raise PthError("has a conjugated or negated tensor; in PyTorch, save tensor.resolve_conj().resolve_neg().")
    if type(offset) is not int or type(shape) is not tuple or type(strides) is not tuple:
        raise damaged()
    if len(shape) != len(strides) or len(shape) > _MAX_DIMENSIONS:
        raise PthError(
            f"has a tensor of {len(shape)} sizes and {len(strides)} strides; there should be as many, "
            f"and at most {_MAX_DIMENSIONS}."
        )
    if not all(type(number) is int and 0 <= number < _MAX_NUMBER for number in (offset, *shape, *strides)):
        raise PthError("has a tensor whose offset, sizes or strides are not whole numbers from 0 up.")
    return Tensor(storage, dtype, offset, shape, strides)


def array(tensor: Tensor, data: mmap.mmap, place: int, big_endian: bool) -> np.ndarray:
    """A copy of the tensor's elements, C-contiguous, from its storage, which begins at data[place].

    Raises PthError where the tensor reaches beyond its storage.
    """
    width = tensor.dtype.itemsize
    storage = tensor.storage
    first, room = storage.start * storage.dtype.itemsize, storage.count * storage.dtype.itemsize
    if 0 in tensor.shape:
        return np.empty(tensor.shape, tensor.dtype)
    reach = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if (reach + 1) * width > room:
        raise PthError(
            f"has a tensor that reaches {(reach + 1) * width:,} bytes into a storage of {room:,}: the file is damaged."
        )
    steps = [stride * width if size > 1 else 0 for size, stride in zip(tensor.shape, tensor.strides, strict=True)]
    bits = np.ndarray(tensor.shape, f"u{width}", data, place + first + tensor.offset * width, steps).copy()
    if big_endian != (sys.byteorder == "big"):
        bits.byteswap(inplace=True)
    if tensor.dtype == np.bool_:
        np.minimum(bits, 1, out=bits)  # any byte but 0 is true
    return bits.view(tensor.dtype)
