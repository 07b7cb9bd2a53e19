"""A PyTorch state dict to the U-Net it belongs to, by names and shapes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jaxseg.assumed import AS_ITS_CLASS, Choices, assumptions
from jaxseg.errors import InputError
from jaxseg.models.block import Norm
from jaxseg.models.unet import UNet
from jaxseg.schemes import SCHEMES, Scheme, name_of
from jaxseg.torch_weights import SUFFIX, flat, leaf_name, own_shape, torch_shape

MAX_DEPTH = 12
MAX_ROWS = 40


class Recognised(NamedTuple):
    """A network, the scheme of its names, the path of each name, and what was assumed, a line each."""

    model: UNet
    channels: int
    scheme: str
    names: dict[str, str]
    assumed: tuple[str, ...]


def recognise(
    tensors: Mapping[str, np.ndarray], schemes: Iterable[Scheme] = SCHEMES.values(), choices: Choices = AS_ITS_CLASS
) -> Recognised:
    """The network whose state dict this is.

    Raises:
        InputError: naming the layers that jaxseg has not, or what is missing, extra or of another shape.
    """
    refuse_volumes(tensors)
    scheme, depth, names = best_fit(list(tensors), {n: t.ndim for n, t in tensors.items()}, list(schemes))
    found = {path: own_shape(path, tensors[name].shape) for name, path in names.items()}
    model, channels = build(found, depth, scheme, choices)
    check_fit(tensors, names, model, channels, scheme)
    return Recognised(model, channels, scheme.name, names, tuple(assumptions(model, scheme, choices)))


def refuse_volumes(tensors: Mapping[str, np.ndarray]) -> None:
    volumes = [name for name, tensor in tensors.items() if tensor.ndim == 5]
    if volumes:
        rows = [(name, str(tensors[name].shape)) for name in volumes]
        shapes = table(("3-D convolution", "shape"), rows)
        raise InputError(f"is a network for volumes; jaxseg's are for images:\n{shapes}")


def best_fit(
    tensors: Sequence[str], dimensions: Mapping[str, int], schemes: Sequence[Scheme]
) -> tuple[Scheme, int, dict[str, str]]:
    """The scheme and number of poolings that leave the fewest names unexplained and layers missing.

    Raises:
        InputError: if less than half of the names fit any.
    """
    prefix = shared_prefix(tensors)
    tries = []
    for order, scheme in enumerate(schemes):
        for depth in range(1, MAX_DEPTH + 1):
            names = paths(tensors, dimensions, scheme.modules(depth), prefix)
            layers = {path.split("/")[0] for path in names.values()}
            needed = {f"{kind}{level}" for kind in ("enc", "dec") for level in range(1, depth + 1)}
            lacking = len({*needed, "bottleneck", "final_conv"} - layers)
            tries.append((len(tensors) - len(names) + 10 * lacking, order, depth, scheme, names))
    _, _, depth, scheme, names = min(tries, key=lambda t: t[:3])
    if 2 * len(names) < len(tensors) or not any(path.startswith("enc") for path in names.values()):
        shown = "\n".join(f"  {name}" for name in tensors[:12]) + ("\n  ..." if len(tensors) > 12 else "")
        raise InputError(
            f"has names of no U-Net that jaxseg knows ({', '.join(s.name for s in schemes)}):\n{shown}\n"
            "If it is a plain U-Net, describe its names in a file: --names FILE (jaxseg/schemes.py tells how)."
        )
    return scheme, depth, names


def shared_prefix(tensors: Sequence[str]) -> str:
    """What training frameworks put before every name: `model.`, `net.`."""
    first = tensors[0].split(".")[0] + "."
    return first if len(tensors) > 1 and all(name.startswith(first) for name in tensors) else ""


def paths(
    tensors: Sequence[str], dimensions: Mapping[str, int], modules: Mapping[str, str], prefix: str
) -> dict[str, str]:
    """The path of each name that the modules explain; a block's layers get their places by their order."""
    split: dict[str, tuple[str, str]] = {}
    for name in tensors:
        parts = name.removeprefix(prefix).split(".")
        leaf = leaf_name(parts[-1], dimensions[name])
        for length in range(len(parts) - 1, 0, -1):
            start = modules.get(".".join(parts[:length]))
            if start is not None:
                if leaf is not None:
                    split[name] = ("/".join([start, *parts[length:-1]]), leaf)
                break
    convolutions = {layer for layer, leaf in split.values() if leaf == "kernel"}
    places = standard_places({layer for layer, _ in split.values()}, convolutions)
    found: dict[str, str] = {}
    for name, (layer, leaf) in split.items():
        path = f"{places[layer]}/{leaf}" if layer in places else None
        if path and path not in found.values():
            found[name] = path
    return found


def standard_places(layers: Iterable[str], convolutions: Iterable[str]) -> dict[str, str]:
    """Each layer's place in jaxseg's block: a dropout between, say, moves the numbers of those after it."""
    places: dict[str, str] = {}
    blocks: dict[str, list[int]] = {}
    for layer in layers:
        block, _, number = layer.partition("/")
        if number.isdigit():
            blocks.setdefault(block, []).append(int(number))
        elif number in ("", "shortcut"):
            places[layer] = layer
    for block, numbers in blocks.items():
        first = [number for number in sorted(numbers) if f"{block}/{number}" in convolutions]
        normed = any(number + 1 in numbers and number + 1 not in first for number in first)
        for order, number in enumerate(first):
            places[f"{block}/{number}"] = f"{block}/{order * (3 if normed else 2)}"
            if normed and number + 1 in numbers and number + 1 not in first:
                places[f"{block}/{number + 1}"] = f"{block}/{order * 3 + 1}"
    return places


def build(found: Mapping[str, tuple[int, ...]], depth: int, scheme: Scheme, choices: Choices) -> tuple[UNet, int]:
    """The network that these shapes suggest, and its input channels; where a layer is missing, by its neighbours."""
    blocks = [*(f"enc{level}" for level in range(1, depth + 1)), "bottleneck"]
    kernels = [found.get(f"{block}/0/kernel") for block in blocks]
    known = [(level, kernel[3]) for level, kernel in enumerate(kernels) if kernel]
    if not known:
        raise InputError("has no convolution in its blocks from which its widths could be read.")
    widths = []
    for level, kernel in enumerate(kernels):
        nearest, width = min(known, key=lambda item: abs(item[0] - level))
        widths.append(kernel[3] if kernel else max(1, round(width * 2.0 ** (level - nearest))))
    last = found.get("final_conv/kernel", (1, 1, widths[0], 1))
    groups = next(number for number in (choices.groups, scheme.groups, UNet.groups) if number is not None)
    norm = norm_of(found)
    if norm == "group" and (groups < 1 or any(width % groups for width in widths)):
        raise InputError(
            f"has group normalisation, and {groups} groups do not divide its widths {' '.join(map(str, widths))}: give "
            "their number in converting, by --groups."
        )
    corners = choices.align_corners
    interpolated = scheme.interpolation if corners is None else "bilinear_corners" if corners else "bilinear"
    model = UNet(
        widths=tuple(widths),
        out_channels=last[-1],
        norm=norm,
        groups=groups,
        epsilon=scheme.epsilon if choices.epsilon is None else choices.epsilon,
        activation=scheme.activation if choices.activation is None else choices.activation,
        bias=any(f"{block}/0/bias" in found for block in blocks),
        up="transposed" if any(path.startswith("upconv") for path in found) else interpolated,
        up_first=scheme.up_first if choices.up_first is None else choices.up_first,
        pad=scheme.pad,
        residual=any("/shortcut/" in path for path in found),
    )
    return model, kernels[0][2] if kernels[0] else 3


def norm_of(found: Iterable[str]) -> Norm:
    """Batch normalisation keeps statistics; what has weights and no statistics is taken for group normalisation."""
    leaves = {path.rpartition("/")[2] for path in found}
    return "batch" if leaves & {"mean", "var", "batches"} else "group" if "scale" in leaves else "none"


def variable_shapes(model: UNet, channels: int) -> dict[str, PyTree]:
    """The shapes and types of the network's variables; nothing is computed."""
    image = jnp.zeros((1, 2 ** (len(model.widths) - 1), 2 ** (len(model.widths) - 1), channels))
    return {**jax.eval_shape(model.init, jax.random.key(0), image)}


def expected_shapes(model: UNet, channels: int) -> dict[str, tuple[int, ...]]:
    """The shape of each leaf that travels with the network, by path."""
    trees = variable_shapes(model.inference, channels).values()
    return {path: leaf.shape for tree in trees for path, leaf in flat(tree).items()}


def check_fit(
    tensors: Mapping[str, np.ndarray], names: Mapping[str, str], model: UNet, channels: int, scheme: Scheme
) -> None:
    """Raise an InputError that lists what is missing, extra or misshapen, if the network is another one."""
    modules, prefix = scheme.modules(len(model.widths) - 1), shared_prefix(list(tensors))
    expected = {path: torch_shape(path, shape) for path, shape in expected_shapes(model, channels).items()}
    rows: list[tuple[str, str, str, str]] = []
    by_path = {path: name for name, path in names.items()}
    for path, shape in expected.items():
        if path not in by_path:
            rows.append((prefix + scheme_name(path, modules), "-", str(shape), "missing"))
        elif tensors[by_path[path]].shape != shape:
            rows.append((by_path[path], str(tensors[by_path[path]].shape), str(shape), "misshapen"))
    extra = [name for name in tensors if names.get(name) not in expected and not counted(names.get(name), expected)]
    rows += [(name, str(tensors[name].shape), "-", "extra") for name in extra]
    unfit = [
        name
        for name, path in names.items()
        if path in expected and not jnp.issubdtype(tensors[name].dtype, jnp.floating)
    ]
    if rows:
        what = f"{scheme.name} U-Net of widths {' '.join(map(str, model.widths))}"
        layers = [name for name in extra if tensors[name].ndim == 4]
        has = f" It has layers that jaxseg has not: {', '.join(layers)}." if layers else ""
        listed = sorted(rows, key=lambda row: ("missing", "extra", "misshapen").index(row[3]))
        raise InputError(f"is no {what}.{has}\n{table(('name', 'in the file', 'in the network', ''), listed)}")
    if unfit:
        raise InputError(f"has weights that are not floating-point numbers: {', '.join(unfit[:10])}.")


def check_leaves(leaves: Mapping[str, np.ndarray], model: UNet, channels: int, where: str) -> None:
    """Raise an InputError that names what differs, if arrays by path are not this network's."""
    expected = expected_shapes(model, channels)
    found = {path: value.shape for path, value in leaves.items() if not counted(path, expected)}
    rows = [
        (path, str(found.get(path, "-")), str(expected.get(path, "-")))
        for path in dict.fromkeys([*expected, *found])
        if found.get(path) != expected.get(path)
    ]
    if rows:
        raise InputError(
            f"{where}: the weights are not of the network that is described beside them:\n"
            + table(("name", "weights", "network"), rows)
        )


def counted(path: str | None, expected: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether it is the count of batches of a normalisation."""
    return path is not None and path.endswith("/batches") and path.removesuffix("batches") + "var" in expected


def scheme_name(path: str, modules: Mapping[str, str]) -> str:
    module, _, leaf = path.rpartition("/")
    return f"{name_of(module, modules) or module.replace('/', '.')}.{SUFFIX[leaf]}"


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]], limit: int = MAX_ROWS) -> str:
    shown = [header, *rows[:limit]]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in shown]
    return "\n".join([*lines, *([f"  and {len(rows) - limit} more"] if len(rows) > limit else [])])
