"""Runs a class of PyTorch's with given weights and keeps what its layers give."""

import importlib.util
import inspect
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from jaxseg.errors import InputError
from jaxseg.recognise import shared_prefix

OUTPUT = "output"


class Ran(NamedTuple):
    """What each layer gave, NHWC, by PyTorch's names, and the whole under `output`."""

    outputs: dict[str, np.ndarray]
    notes: tuple[str, ...]
    version: str


def run_torch(
    spec: str,
    state: Mapping[str, np.ndarray],
    image: Float32[np.ndarray, "batch height width channels"],
    layers: Iterable[str],
) -> Ran:
    """Make the class, load the state dict strictly, and run it in eval mode.

    Raises:
        InputError: if PyTorch is not installed, or the class can't be made or can't load the state dict.
    """
    torch, module = import_torch(), load_class(spec)
    load_strictly(module, state, torch)
    module.eval()
    prefix, own = shared_prefix(list(state)), dict(module.named_modules())
    outputs: dict[str, np.ndarray] = {}
    for name in layers:
        layer = own.get(name, own.get(name.removeprefix(prefix)))

        def keep(_: Any, __: Any, output: Any, name: str = name) -> None:
            outputs[name] = output.detach().float().numpy().transpose(0, 2, 3, 1).copy()  # a ReLU may overwrite it

        if layer is not None:
            layer.register_forward_hook(keep)
    with torch.no_grad():
        output = module(torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    if isinstance(output, torch.Tensor) and output.ndim == 4:
        outputs[OUTPUT] = output.float().numpy().transpose(0, 2, 3, 1)
    momenta = {layer.momentum for layer in own.values() if isinstance(layer, torch.nn.BatchNorm2d)} - {0.1}
    notes = tuple(
        f"note: PyTorch's running statistics have momentum {momentum}, jaxseg's 0.1 in PyTorch's sense: "
        "the same results, but training will go on differently."
        for momentum in sorted(map(str, momenta))
    )
    return Ran(outputs, notes, torch.__version__)


def import_torch() -> Any:
    try:
        import torch
    except ImportError:
        raise InputError(
            "--torch-model needs PyTorch: pip install 'jaxseg[torch]'. Without it, --reference ref.npz compares with "
            "an input and output saved where PyTorch is."
        ) from None
    return torch


def load_class(spec: str) -> Any:
    """The module that `file.py:Class` or `file.py:Class(arguments)` makes."""
    file, _, call = spec.partition(".py:")
    path = Path(f"{file}.py")
    if not call or not path.is_file():
        raise InputError(f"--torch-model {spec}: expected a file and a class in it, such as model.py:UNet(3, 1).")
    found = importlib.util.spec_from_file_location(path.stem, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.path.insert(0, str(path.parent))
    try:
        found.loader.exec_module(module)
        made = eval(call, vars(module))  # the user's own file and call
        return made() if inspect.isclass(made) else made
    except Exception as error:  # whatever the user's file raises is shown as theirs
        hint = f" If the class wants arguments: {path}:{call}(3, 1)." if "(" not in call else ""
        raise InputError(f"--torch-model {spec}: {type(error).__name__}: {error}.{hint}") from error
    finally:
        sys.path.remove(str(path.parent))


def load_strictly(module: Any, state: Mapping[str, np.ndarray], torch: Any) -> None:
    prefix = shared_prefix(list(state))
    own = set(module.state_dict())
    bare = prefix and not any(name.startswith(prefix) for name in own)
    tensors = {
        (name.removeprefix(prefix) if bare else name): torch.from_numpy(np.asarray(value, np.float32))
        if value.dtype.kind not in "iub"
        else torch.from_numpy(value)
        for name, value in state.items()
    }
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise InputError(f"--torch-model: the class does not load this state dict: {error}") from None
