"""Names and layouts: jaxseg's parameters as a PyTorch state dict."""

from typing import Any

import numpy as np
from jaxtyping import PyTree

# jaxseg's leaf, by where it stands in the tree -> PyTorch's suffix
SUFFIX = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
CONV_TO_TORCH = (3, 2, 0, 1)  # (height, width, in, out) to (out, in, height, width)
UPCONV_TO_TORCH = (2, 3, 0, 1)  # (height, width, in, out) to (in, out, height, width)


def to_state_dict(params: PyTree, batch_stats: PyTree, *, batches: int = 0) -> dict[str, np.ndarray]:
    """The state dict of the same network in PyTorch, in the order its modules run.

    `batches` is what BatchNorm's `num_batches_tracked` says, where there are such layers.
    """
    found = {**leaves(params), **leaves(batch_stats)}
    state: dict[str, np.ndarray] = {}
    for path in sorted(found, key=place):
        *module, leaf = path
        value = np.asarray(found[path])
        state[".".join([*module, SUFFIX[leaf]])] = np.array(value.transpose(permutation(path, value)), order="C")
        if leaf == "var":
            state[".".join([*module, "num_batches_tracked"])] = np.asarray(batches, np.int64)
    return state


def permutation(path: tuple[str, ...], value: np.ndarray) -> tuple[int, ...]:
    if value.ndim != 4:
        return tuple(range(value.ndim))
    return UPCONV_TO_TORCH if path[0].startswith("upconv") else CONV_TO_TORCH


def leaves(tree: PyTree, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(tree, dict):
        return {path: tree}
    return {p: leaf for key, child in tree.items() for p, leaf in leaves(child, (*path, key)).items()}


def place(path: tuple[str, ...]) -> tuple:
    """Sorts as the network runs: encoder down, bottleneck, decoder up, the last convolution."""
    name, level = path[0].rstrip("0123456789"), path[0][len(path[0].rstrip("0123456789")) :]
    stage = {"enc": 0, "bottleneck": 1, "upconv": 2, "dec": 2, "final_conv": 3}[name]
    depth = int(level or 0) if stage == 0 else -int(level or 0)
    order_in_stage = ("upconv", "dec").index(name) if stage == 2 else 0
    order_in_layer = ("kernel", "scale", "bias", "mean", "var").index(path[-1])
    return (stage, depth, order_in_stage, [int(part) for part in path[1:-1]], order_in_layer)
