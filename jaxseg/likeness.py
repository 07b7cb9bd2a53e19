"""Whether a saved tree of arrays is the one that is expected, name by name."""

import jax
import numpy as np
from jaxtyping import PyTree

from jaxseg.errors import InputError


def check_arrays(expected: PyTree, saved: PyTree, where: str, what: str) -> None:
    """Raise an InputError that names every array that is missing, extra, misshapen or of another type in `saved`."""
    ours, theirs = arrays(expected), arrays(saved)
    faults = [f"missing: {name} {told(ours[name])}" for name in ours if name not in theirs]
    faults += [f"extra: {name} {told(theirs[name])}" for name in theirs if name not in ours]
    for name in (name for name in ours if name in theirs):
        for word, now, due in zip(("misshapen", "of another type"), theirs[name], ours[name], strict=True):
            if now != due:
                faults.append(f"{word}: {name} is {now}, expected {due}")
    if faults:
        listed = "\n  ".join(faults)
        raise InputError(f"{where} does not hold {what}:\n  {listed}")


def arrays(tree: PyTree) -> dict[str, tuple[tuple[int, ...], str]]:
    """The shape and type of each array, by its path."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (tuple(leaf.shape), np.dtype(leaf.dtype).name)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def told(array: tuple[tuple[int, ...], str]) -> str:
    shape, dtype = array
    return f"{shape} {dtype}"
