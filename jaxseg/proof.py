"""Compares a network layer by layer with PyTorch's, or with an input and output that were saved."""

import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float32, PyTree

from jaxseg.errors import InputError
from jaxseg.mistakes import alternatives
from jaxseg.models.unet import UNet
from jaxseg.recognise import table
from jaxseg.torch_side import OUTPUT, run_torch
from jaxseg.weights import Weights

TOLERANCE = 1e-4
INPUTS = ("x_nchw", "x_nhwc", "input_nchw", "input_nhwc", "x", "input", "inputs", "image", "images")
OUTPUTS = ("logits_nchw", "logits_nhwc", "output_nchw", "output_nhwc", "logits", "output", "outputs", "y")

Image = Float32[np.ndarray, "batch height width channels"]


class LayerError(NamedTuple):
    """The largest error of a layer's output, and that divided by the largest value it should have."""

    layer: str
    absolute: float
    relative: float


class Proof(NamedTuple):
    """What was compared with what, the errors in the network's order, and what they mean.

    `first_off` is the first layer whose relative error is above the tolerance; None: the networks agree.
    """

    against: str
    shape: tuple[int, ...]
    errors: tuple[LayerError, ...]
    first_off: str | None
    reason: str | None
    notes: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether every layer does."""
        return self.first_off is None

    def __str__(self) -> str:
        rows = [(e.layer, f"{e.absolute:.1e}", f"{e.relative:.1e}") for e in self.errors]
        lines = [
            f"Compared with {self.against}, on an input of shape {self.shape}:",
            table(("layer", "largest absolute error", "relative to its largest value"), rows, limit=len(rows)),
            *self.notes,
        ]
        if self.agrees:
            return "\n".join([*lines, f"Proven: no layer is off by more than {TOLERANCE:g} of its largest value."])
        return "\n".join([*lines, f"They DISAGREE, first in {self.first_off}. {self.reason}"])


def prove_by_torch(weights: Weights, state: Mapping[str, np.ndarray], spec: str) -> Proof:
    """Run PyTorch's class with a state dict, and the network, on the same noise.

    Args:
        weights: the network's.
        state: the state dict that the class loads.
        spec: `file.py:Class`, or with arguments `file.py:Class(1, 5)`.

    Raises:
        InputError: if PyTorch is not installed, or the class can't be made or can't load the state dict.
    """
    image = noise(weights)
    ran = run_torch(spec, state, image, modules_of(weights))
    return compare(weights, image, ran.outputs, f"PyTorch {ran.version}, {spec}", ran.notes)


def prove_by_reference(weights: Weights, path: Path | str) -> Proof:
    """Compare with an `.npz` that holds an input, the logits, and if one likes outputs of layers by PyTorch's names.

    Arrays are NCHW, unless their names end in `_nhwc`.

    Raises:
        InputError: if it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {
                name: np.asarray(file[name] if name.endswith("_nhwc") else file[name].transpose(0, 2, 3, 1), np.float32)
                for name in file.files
                if file[name].ndim == 4
            }
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"--reference {path} is no .npz that NumPy reads: {error}.") from None
    image = next((arrays.pop(name) for name in INPUTS if name in arrays), None)
    output = next((arrays.pop(name) for name in OUTPUTS if name in arrays), None)
    if image is None or output is None:
        raise InputError(
            f"--reference {path}: expected an input and an output of four dimensions, named {INPUTS[0]} and "
            f"{OUTPUTS[0]} (NCHW); found {', '.join(arrays) or 'none'}."
        )
    channels, outputs = weights.description["channels"], weights.model.out_channels
    if image.shape[-1] != channels or output.shape[-1] != outputs or image.shape[:3] != output.shape[:3]:
        raise InputError(
            f"--reference {path}: input and output have the shapes {nchw(image)} and {nchw(output)} (NCHW); "
            f"this network takes {channels} channels, gives {outputs}, and keeps the size."
        )
    return compare(weights, image, {**arrays, OUTPUT: output}, str(path))


def compare(
    weights: Weights, image: Image, expected: Mapping[str, np.ndarray], against: str, notes: tuple[str, ...] = ()
) -> Proof:
    """The errors against outputs of layers by PyTorch's names; `output` is the network's."""
    model, variables = weights.model.clone(dtype="float32"), weights.variables
    paths = {**{name: path for name, path in modules_of(weights).items() if name in expected}, OUTPUT: OUTPUT}
    ours = outputs_of_layers(model, variables, image)
    order = {path: place for place, path in enumerate(ours)}
    paths = dict(sorted(paths.items(), key=lambda item: order[item[1]]))
    if OUTPUT in expected:
        ours[OUTPUT], ending = finished_alike(ours[OUTPUT], expected[OUTPUT])
        notes = (*notes, *([f"note: the output there is the {ending} of the logits."] if ending else []))
    else:
        paths.pop(OUTPUT)
    errors = [error(name, ours[path], expected[name]) for name, path in paths.items()]
    off = next((e.layer for e in errors if not e.relative <= TOLERANCE), None)
    reason = None if off is None else likely_reason(model, variables, image, paths[off], expected[off])
    return Proof(against, nchw(image), tuple(errors), off, reason, notes)


def modules_of(weights: Weights) -> dict[str, str]:
    """PyTorch's names of the layers that have weights, and their paths."""
    return {name.rpartition(".")[0]: path.rpartition("/")[0] for name, path in weights.names.items()}


def error(name: str, ours: np.ndarray, theirs: np.ndarray) -> LayerError:
    if ours.shape != theirs.shape:
        return LayerError(name, float("nan"), float("nan"))
    largest = float(np.abs(ours - theirs).max())
    return LayerError(name, largest, largest / max(float(np.abs(theirs).max()), 1e-30))


def outputs_of_layers(
    model: UNet, variables: Mapping[str, PyTree], image: Image, train: bool = False
) -> dict[str, np.ndarray]:
    """What each layer gives, by its path, in the order they run; `output` is the network's."""
    logits, kept = applied(model, train, variables, image)
    found: dict[str, np.ndarray] = {}

    def walk(tree: Mapping[str, Any], path: str) -> None:
        for name, child in tree.items():
            if name != "__call__":
                walk(child, f"{path}/{name}" if path else name)
            elif path:
                found[path] = np.asarray(child[0])

    walk(kept["intermediates"], "")
    depth = len(model.widths) - 1
    blocks = [f"enc{level}" for level in range(1, depth + 1)] + ["bottleneck"]
    blocks += [f"{kind}{level}" for level in range(depth, 0, -1) for kind in ("upconv", "dec")] + ["final_conv"]
    ordered = sorted(found, key=lambda path: (blocks.index(path.split("/")[0]), path.count("/") == 0, path))
    return {**{path: found[path] for path in ordered}, OUTPUT: np.asarray(logits)}


@partial(jax.jit, static_argnums=(0, 1))
def applied(model: UNet, train: bool, variables: Any, image: Any) -> Any:
    mutable = ["intermediates", *(["batch_stats"] if train else [])]
    return model.apply(variables, image, train=train, mutable=mutable, capture_intermediates=True)


def finished_alike(logits: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, str | None]:
    """The logits, or what of them the other output is, if it is that."""
    if theirs.shape == logits.shape and theirs.min() >= 0 and theirs.max() <= 1:
        for name, ending in (("sigmoid", jax.nn.sigmoid), ("softmax", jax.nn.softmax)):
            finished = np.asarray(ending(logits))
            if error("", finished, theirs).relative < error("", logits, theirs).relative:
                logits, found = finished, name
                return logits, found
    return logits, None


def likely_reason(model: UNet, variables: Mapping[str, PyTree], image: Image, layer: str, expected: np.ndarray) -> str:
    """What would make the first layer that is off agree."""
    for reason, changed, its_variables, train in alternatives(model, variables, layer):
        other = outputs_of_layers(changed, its_variables, image, train)[layer]
        if layer == OUTPUT:
            other, _ = finished_alike(other, expected)
        if error("", other, expected).relative <= TOLERANCE:
            return f"Likely reason: {reason}."
    return (
        "No kernel transposed or flipped, no other concatenation order, activation, epsilon, number of groups, "
        "align_corners or statistics of the batch explains it: look at what comes before it there (another pooling, "
        "padding, scaling)."
    )


def noise(weights: Weights) -> Image:
    """Two images of seeded noise; of odd sizes where the network takes them."""
    stride = 2 ** (len(weights.model.widths) - 1)
    height, width = weights.description["height"] or 64, weights.description["width"] or 96
    height, width = (max(2, -(-side // stride)) * stride for side in (height, width))
    odd = (3, 5) if weights.model.pad else (0, 0)
    shape = (2, height - odd[0], width - odd[1], weights.description["channels"])
    return np.random.default_rng(0).random(shape, np.float32)


def nchw(image: np.ndarray) -> tuple[int, ...]:
    return (image.shape[0], image.shape[3], *image.shape[1:3])
