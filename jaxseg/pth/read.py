"""A checkpoint file to its named tensors, taken out of what training scripts wrap around them."""

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxseg.pth.containers import open_contents
from jaxseg.pth.tensors import Tensor, array
from jaxseg.pth.unpickle import PthError, shown

_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "network_weights", "weights")
_PREFIXES = ("module.", "_orig_mod.")
_SAVE_WEIGHTS = "In PyTorch, torch.save(model.state_dict(), path) saves the weights."
_SCALARS = bool | int | float | str | None
_MAX_LAYERS = 4
_MAX_ITEMS = 256
_SLACK = 2**26  # bytes


class Checkpoint(NamedTuple):
    """The contents of a checkpoint file.

    `tensors`: by name, in the file's order and types; independent, writable copies.
    `unwrapped`: what was taken off, outermost first: keys of dictionaries around the tensors (`state_dict`), then
    prefixes that all names shared (`module.`).
    `extra`: the numbers, texts, and short flat lists and dictionaries of them that stood beside the tensors (`epoch`).
    """

    tensors: dict[str, np.ndarray]
    unwrapped: tuple[str, ...]
    extra: dict[str, object]


def read_pth(path: Path | str) -> Checkpoint:
    """Reads a `.pth` or `.pt` file that torch.save wrote, in the zip format or the one before PyTorch 1.6.

    Runs no code from the file, and takes memory in proportion to its size. bfloat16 becomes `ml_dtypes.bfloat16`.
    Raises PthError, a ValueError, for any other file, and for one that holds more than tensors and simple values.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise PthError(f"{path} is a folder or a device; give the checkpoint file itself.")
    try:
        with path.open("rb") as file:
            contents = open_contents(file)
            named, unwrapped, extra = _unwrap(contents.value)
            _check_size(named, len(contents.data))
            place, data, big_endian = contents.place, contents.data, contents.big_endian
            tensors = {name: array(tensor, data, place(tensor.storage), big_endian) for name, tensor in named.items()}
    except PthError as error:
        raise PthError(f"{path} {error}") from None
    return Checkpoint(tensors, tuple(unwrapped), extra)


def _check_size(named: dict[str, Tensor], file_size: int) -> None:
    """Expanded tensors can be larger than the file, but not by any factor."""
    total, limit = 0, 4 * file_size + _SLACK
    for name, tensor in named.items():
        total += tensor.nbytes
        if total > limit:
            raise PthError(
                f"would need more than {limit:,} bytes for its tensors, of {file_size:,} in the file ({shown(name)} "
                f"has shape {tensor.shape}): it is damaged or made to mislead. {_SAVE_WEIGHTS}"
            )


def _unwrap(value: object) -> tuple[dict[str, Tensor], list[str], dict[str, object]]:
    """The named tensors in a checkpoint's value, what was taken off, and the plain values beside them."""
    unwrapped: list[str] = []
    extra: dict[str, object] = {}
    while True:
        if type(value) is not dict or len(unwrapped) == _MAX_LAYERS:
            raise PthError(f"holds a {type(value).__name__}, not tensors by name. {_SAVE_WEIGHTS}")
        extra |= {key: item for key, item in value.items() if type(key) is str and _is_plain(item)}
        key = _inner_key(value)
        if key is None:
            break
        unwrapped.append(key)
        value = value[key]
    named = {key: item for key, item in value.items() if isinstance(item, Tensor)}
    if not named:
        keys = ", ".join(str(key) for key in itertools.islice(value, 10))
        raise PthError(f"holds no tensors by name (it has {shown(keys) or 'nothing'}). {_SAVE_WEIGHTS}")
    if not all(type(name) is str for name in named):
        raise PthError(f"holds tensors under numbers, not names. {_SAVE_WEIGHTS}")
    for prefix in itertools.chain.from_iterable(itertools.repeat(_PREFIXES, _MAX_LAYERS)):
        if all(name.startswith(prefix) for name in named):
            named = {name.removeprefix(prefix): tensor for name, tensor in named.items()}
            unwrapped.append(prefix)
    return named, unwrapped, extra


def _inner_key(value: dict) -> str | None:
    """The key under which a dictionary keeps the model's tensors; None where it holds them itself, or has none."""
    for key in _WRAPPERS:
        inner = value.get(key)
        if type(inner) is dict and any(map(_holds_tensors, (inner, *(inner.get(name) for name in _WRAPPERS)))):
            return key
    if _holds_tensors(value):
        return None
    distinct = {id(item): key for key, item in value.items() if type(item) is dict and type(key) is str}
    keys = [key for key in distinct.values() if _holds_tensors(value[key])]
    if len(keys) > 1:
        raise PthError(f"holds several groups of tensors ({shown(', '.join(keys))}). Save the one that is meant alone.")
    return keys[0] if keys else None


def _holds_tensors(value: object) -> bool:
    return type(value) is dict and any(isinstance(item, Tensor) for item in value.values())


def _is_plain(value: object) -> bool:
    """A number, text or None, or a short list or dictionary of them."""
    if isinstance(value, list | tuple | dict):
        items = itertools.chain(value, value.values()) if isinstance(value, dict) else value
        return len(value) <= _MAX_ITEMS and all(isinstance(item, _SCALARS) for item in items)
    return isinstance(value, _SCALARS)
