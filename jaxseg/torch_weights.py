"""Names and layouts: jaxseg's parameters as a PyTorch state dict, and back.

jaxseg's own names for them are paths: `enc1/0/kernel`. The path of a normalisation's count of batches, which PyTorch
keeps and jaxseg does not use, ends in `batches`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import PyTree

AFTER = 99
"""Where a block's `shortcut` stands, behind its numbered layers."""

# jaxseg's leaf, by where it stands in the tree -> PyTorch's suffix
SUFFIX = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
    "batches": "num_batches_tracked",
}
STATISTICS = ("mean", "var")
HEADS = "head"
"""Begins the names of the convolutions of deep supervision, which serve training alone and do not travel."""
CONV_TO_TORCH = (3, 2, 0, 1)  # (height, width, in, out) to (out, in, height, width)
UPCONV_TO_TORCH = (2, 3, 0, 1)  # (height, width, in, out) to (in, out, height, width)


def to_state_dict(params: PyTree, batch_stats: PyTree, *, batches: int = 0) -> dict[str, np.ndarray]:
    """The state dict of the same network in PyTorch, in the order its modules run.

    `batches` is what BatchNorm's `num_batches_tracked` says, where there are such layers.
    """
    leaves = to_leaves(params, batch_stats, batches=batches)
    return renamed(leaves, {original_name(path): path for path in leaves})


def renamed(leaves: Mapping[str, np.ndarray], names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Leaves by path as a state dict; `names` gives PyTorch's names in their order, and the path of each."""
    return {name: to_torch(path, leaves[path]) for name, path in names.items()}


def unnamed(state: Mapping[str, np.ndarray], names: Mapping[str, str]) -> dict[str, np.ndarray]:
    """A state dict as leaves by path, of the same types."""
    return {path: from_torch(path, state[name]) for name, path in names.items()}


def to_leaves(params: PyTree, batch_stats: PyTree, *, batches: int = 0) -> dict[str, np.ndarray]:
    """The two trees by path, in the order the network runs, and a count of batches for each normalisation.

    Without the heads of deep supervision.
    """
    found: dict[str, np.ndarray] = {}
    trees = {**flat(params), **flat(batch_stats)}
    for path in sorted((path for path in trees if not path.startswith(HEADS)), key=place):
        found[path] = np.asarray(trees[path])
        if path.endswith("/var"):
            found[path.removesuffix("var") + "batches"] = np.asarray(batches, np.int64)
    return found


def to_variables(leaves: Mapping[str, np.ndarray]) -> dict[str, PyTree]:
    """Leaves by path as the `params` and `batch_stats` of the network, in float32."""
    trees: dict[str, PyTree] = {"params": {}, "batch_stats": {}}
    for path, value in leaves.items():
        *modules, leaf = path.split("/")
        if leaf == "batches":
            continue
        node = trees["batch_stats" if leaf in STATISTICS else "params"]
        for module in modules:
            node = node.setdefault(module, {})
        node[leaf] = np.asarray(value, np.float32)
    return trees


def original_name(path: str) -> str:
    """PyTorch's name in the original's class: `enc1.0.weight` for `enc1/0/kernel`."""
    *modules, leaf = path.split("/")
    return ".".join([*modules, SUFFIX[leaf]])


def leaf_name(suffix: str, dimensions: int) -> str | None:
    """jaxseg's name of a tensor by PyTorch's; None if jaxseg has no such thing."""
    if suffix == "weight":
        return {4: "kernel", 1: "scale"}.get(dimensions)
    return {theirs: ours for ours, theirs in SUFFIX.items() if theirs != "weight"}.get(suffix)


def to_torch(path: str, value: np.ndarray) -> np.ndarray:
    """A copy of an array in PyTorch's layout."""
    return np.array(value.transpose(permutation(path, value.ndim)), order="C")


def from_torch(path: str, value: np.ndarray) -> np.ndarray:
    """A copy of an array of PyTorch's in jaxseg's layout."""
    return np.array(value.transpose(np.argsort(permutation(path, value.ndim)).tolist()), order="C")


def torch_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape in PyTorch of what has this shape here."""
    return tuple(shape[axis] for axis in permutation(path, len(shape)))


def own_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape here of what has this shape in PyTorch."""
    return tuple(shape[axis] for axis in np.argsort(permutation(path, len(shape))))


def permutation(path: str, dimensions: int) -> tuple[int, ...]:
    if dimensions != 4:
        return tuple(range(dimensions))
    return UPCONV_TO_TORCH if path.startswith("upconv") else CONV_TO_TORCH


def flat(tree: PyTree, path: str = "") -> dict[str, Any]:
    """Nested dicts as one, by path."""
    if not isinstance(tree, dict):
        return {path: tree}
    return {p: leaf for key, child in tree.items() for p, leaf in flat(child, f"{path}/{key}" if path else key).items()}


def place(path: str) -> tuple:
    """Sorts as the network runs: encoder down, bottleneck, decoder up, the last convolution."""
    module, *numbers, leaf = path.split("/")
    name, level = module.rstrip("0123456789"), module[len(module.rstrip("0123456789")) :]
    stage = {"enc": 0, "bottleneck": 1, "upconv": 2, "dec": 2, "final_conv": 3}[name]
    depth = int(level or 0) if stage == 0 else -int(level or 0)
    order_in_stage = ("upconv", "dec").index(name) if stage == 2 else 0
    in_block = [int(number) if number.isdecimal() else AFTER for number in numbers]
    return (stage, depth, order_in_stage, in_block, list(SUFFIX).index(leaf))
