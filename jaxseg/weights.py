"""A network with its weights, from a run, a checkpoint, a converted folder, a `.pth` or a `.safetensors`; and to them.

A converted folder holds `model.json`, as a run's, and `weights.safetensors`: each tensor by jaxseg's path
(`enc1/0/kernel`), in jaxseg's layout and its own type. `model.json` has an entry `torch` beside: the scheme of
PyTorch's names, the names in order with the path of each, and the types that the tensors had first.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxseg.checkpoint import Which, load_weights
from jaxseg.config import from_json
from jaxseg.description import parse_description, read_description
from jaxseg.errors import InputError
from jaxseg.foreign import UNDESCRIBED, Foreign, describe_foreign, single
from jaxseg.models.unet import UNet
from jaxseg.pth import read_pth, write_pth
from jaxseg.recognise import check_leaves, recognise, scheme_name, variable_shapes
from jaxseg.run import RunFolder, write_json
from jaxseg.schemes import SCHEMES, Scheme
from jaxseg.tensors_file import read_safetensors, write_safetensors
from jaxseg.torch_weights import original_name, renamed, to_leaves, to_variables, unnamed

PTH = (".pth", ".pt", ".bin", ".ckpt", ".tar")
SAFETENSORS = ".safetensors"
FOLDER_WEIGHTS = "weights.safetensors"


class Weights(NamedTuple):
    """A network and its weights.

    `description`: what travels with them, the content of model.json. `leaves`: arrays by path, of the types they came
    in. `names`: PyTorch's names, in order, with the path of each; `scheme`: of these names. `types`: what each tensor
    was in the file it first came from. `notes`: what was assumed or changed on the way, a line each.
    """

    description: dict[str, Any]
    leaves: dict[str, np.ndarray]
    names: dict[str, str]
    scheme: str
    types: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def model(self) -> UNet:
        """The network, without what training alone needs."""
        return from_json(self.description["model"]).inference

    @property
    def variables(self) -> dict[str, PyTree]:
        """What the network's `apply` takes, in float32."""
        return to_variables(self.leaves)

    @property
    def state_dict(self) -> dict[str, np.ndarray]:
        """The tensors by PyTorch's names."""
        return renamed(self.leaves, self.names)


def read_weights(path: Path | str, *, checkpoint: Which | str = "best", foreign: Foreign = UNDESCRIBED) -> Weights:
    """A network and its weights, whatever `path` is.

    Args:
        path: a run's folder, one checkpoint in it, a converted folder, a `.pth` (`.pt`, ...) or `.safetensors` file.
        checkpoint: which of a run: `best`, `latest`, or a step's number.
        foreign: what to know of a file that jaxseg did not write.

    Raises:
        InputError: for anything else, and for weights of no network that jaxseg has.
    """
    path = Path(path)
    if path.suffix == SAFETENSORS or (path.suffix in PTH and not path.is_dir()):
        return read_file(path, foreign)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.")
    if (path / FOLDER_WEIGHTS).is_file():
        return read_folder(path)
    if path.is_file():
        raise InputError(f"{path}: expected a folder, or a file that ends in {', '.join((*PTH, SAFETENSORS))}.")
    if path.name.isdecimal() and path.parent.name == "checkpoints":
        return read_run(path.parent.parent, path.name)
    return read_run(path.parent if path.name == "checkpoints" else path, checkpoint)


def read_run(path: Path, checkpoint: Which | str) -> Weights:
    folder = RunFolder(path)
    if not folder.model.is_file():
        raise InputError(
            f"{path} is neither a run's folder nor a converted one: it has no model.json. "
            f"Give one of those, or a file that ends in {', '.join((*PTH, SAFETENSORS))}."
        )
    description = read_description(folder.model)
    model: UNet = from_json(description["model"])
    shapes = variable_shapes(model, description["channels"])
    saved = load_weights(folder.checkpoints, which(checkpoint), {"step": jax.ShapeDtypeStruct((), np.int32), **shapes})
    step = int(saved["step"])
    own = own_weights(description, saved["params"], saved.get("batch_stats", {}), step)
    left_out = ["left out: the heads of deep supervision, which serve training alone"] if model.deep_supervision else []
    return own._replace(notes=(f"checkpoint of step {step}", *left_out))


def own_weights(description: dict[str, Any], params: PyTree, batch_stats: PyTree, step: int = 0) -> Weights:
    """Weights that jaxseg trained for some steps, with the original's names."""
    leaves = to_leaves(params, batch_stats, batches=step)
    names = {original_name(leaf): leaf for leaf in leaves}
    types = {name: leaves[leaf].dtype.name for name, leaf in names.items()}
    return Weights(description, leaves, names, "original", types)


def which(checkpoint: str | int) -> Which:
    if isinstance(checkpoint, int) or checkpoint == "best" or checkpoint == "latest":
        return checkpoint
    if not checkpoint.isdecimal():
        raise InputError(f"--checkpoint {checkpoint}: give best, latest, or the number of a step.")
    return int(checkpoint)


def read_folder(path: Path) -> Weights:
    description = read_description(path / "model.json")
    leaves = read_safetensors(path / FOLDER_WEIGHTS).tensors
    torch = description.pop("torch", {})
    check_leaves(leaves, from_json(description["model"]), description["channels"], str(path / FOLDER_WEIGHTS))
    names = torch.get("names", {original_name(leaf): leaf for leaf in leaves})
    if unknown := set(names.values()) ^ set(leaves):
        raise InputError(
            f"{path}: model.json and {FOLDER_WEIGHTS} name different tensors: {', '.join(sorted(unknown))}."
        )
    return Weights(description, leaves, names, torch.get("scheme", "original"), torch.get("types", {}))


def read_file(path: Path, foreign: Foreign) -> Weights:
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    notes: list[str] = []
    metadata: dict[str, str] = {}
    if path.suffix == SAFETENSORS:
        tensors, metadata = read_safetensors(path)
    else:
        tensors, unwrapped, _ = read_pth(path)
        notes += [f"taken out of {', '.join(unwrapped)}"] if unwrapped else []
    types = {name: tensor.dtype.name for name, tensor in tensors.items()}
    tensors = single(tensors, notes, path)
    description = beside(path)
    if description is None and "model.json" in metadata:
        description = parse_description(metadata["model.json"], f"{path}, model.json in it,")
    torch = description.pop("torch", {}) if description else {}
    names = torch.get("names", {})
    if description and list(names) == list(tensors):
        leaves = unnamed(tensors, names)
        check_leaves(leaves, from_json(description["model"]), description["channels"], str(path))
        return Weights(description, leaves, names, torch["scheme"], torch.get("types", types), tuple(notes))
    schemes = [foreign.scheme] if foreign.scheme else list(SCHEMES.values())
    try:
        found = recognise(tensors, schemes, foreign.choices)
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    leaves = unnamed(tensors, found.names)
    if description:
        check_leaves(leaves, from_json(description["model"]), description["channels"], str(path))
    else:
        notes += [f"assumed: {line}" for line in found.assumed]
        description = describe_foreign(found.model, found.channels, foreign, notes)
    return Weights(description, leaves, found.names, found.scheme, types, tuple(notes))


def beside(path: Path) -> dict[str, Any] | None:
    """What lies beside a file of weights: `model.pth.json`, or model.json beside a run's own."""
    folder = RunFolder(path.parent)
    own = path.with_name(f"{path.name}.json")
    if own.is_file():
        return read_description(own)
    if path in (folder.best_weights, folder.final_weights) and folder.model.is_file():
        return read_description(folder.model)
    return None


def in_scheme(weights: Weights, scheme: Scheme | None) -> Weights:
    """The weights with PyTorch's names after another scheme.

    Raises:
        InputError: if that scheme's class does something else than the network.
    """
    if scheme is None or scheme.name == weights.scheme:
        return weights
    model = weights.model
    if model.up_first != scheme.up_first:
        raise InputError(
            f"--scheme {scheme.name}: its class concatenates {'(up, skip)' if scheme.up_first else '(skip, up)'}, "
            "this network the other way round, so it would give other results under these names."
        )
    if model.residual:
        raise InputError(f"--scheme {scheme.name}: its class has no residual blocks, this network has.")
    if model.activation != scheme.activation:
        raise InputError(
            f"--scheme {scheme.name}: its class has the activation {scheme.activation}, this network "
            f"{model.activation}, so it would give other results under these names."
        )
    modules = scheme.modules(len(model.widths) - 1)
    names = {scheme_name(path, modules): path for path in weights.leaves}
    types = {name: weights.leaves[path].dtype.name for name, path in names.items()}
    return weights._replace(names=names, scheme=scheme.name, types=types)


def write_weights(path: Path | str, weights: Weights) -> None:
    """Write weights as the name says: `.pth` or `.safetensors` with `PATH.json` beside it, or a converted folder.

    Raises:
        InputError: for a folder that holds something else.
    """
    path = Path(path)
    torch = {"scheme": weights.scheme, "names": weights.names, "types": weights.types}
    description = {**weights.description, "torch": torch}
    if path.suffix in (*PTH, SAFETENSORS):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == SAFETENSORS:
            write_safetensors(path, weights.state_dict, {"format": "pt"})
        else:
            write_pth(path, weights.state_dict)
        write_json(path.with_name(f"{path.name}.json"), description)
        return
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / FOLDER_WEIGHTS).is_file()):
        raise InputError(f"{path} is there already and is no converted folder: give another name.")
    path.mkdir(parents=True, exist_ok=True)
    write_safetensors(path / FOLDER_WEIGHTS, weights.leaves, {"format": "np"})
    write_json(path / "model.json", description)
