"""Weights from elsewhere as the start of a training."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax

from jaxseg.ema import started
from jaxseg.errors import InputError
from jaxseg.models.unet import UNet
from jaxseg.recognise import expected_shapes, table
from jaxseg.run import RunFolder
from jaxseg.sharding import Layout
from jaxseg.step import TrainState
from jaxseg.torch_weights import flat
from jaxseg.weights import read_weights

SETTINGS = ("widths", "norm", "groups", "epsilon", "activation", "bias", "up", "up_first", "residual")
ENDS = {"enc1/0": "input channels", "final_conv": "output channels"}
"""The layers that may differ: they depend on the images and classes."""


class Initial(NamedTuple):
    """Leaves by path, of this network's shapes; a layer that is not among them starts afresh."""

    leaves: dict[str, np.ndarray]
    notes: tuple[str, ...]


def read_initial(path: Path, folder: RunFolder, model: UNet, channels: int) -> Initial | None:
    """The weights to start from; None, and said so, if the run in `folder` has a checkpoint to go on from.

    Raises:
        InputError: if they are of another architecture, with the settings and names that differ.
    """
    if folder.checkpoints.is_dir() and any(saved.name.isdecimal() for saved in folder.checkpoints.iterdir()):
        print(f"--init {path} is ignored: the run goes on from its own checkpoint.")
        return None
    weights = read_weights(path)
    told = [note.partition(" (--")[0] for note in weights.notes if not note.startswith("not known")]
    notes = [f"Starting from {path} ({weights.scheme} names).", *(f"  {note}" for note in told)]
    expected = expected_shapes(model, channels)
    found = {leaf: value for leaf, value in weights.leaves.items() if not leaf.endswith("/batches")}
    for layer, what in ENDS.items():
        ours, theirs = (shapes.get(f"{layer}/kernel") for shapes in (expected, shapes_of(found)))
        if ours and theirs and ours != theirs and differ_in_channels(layer, ours, theirs):
            axis = 2 if layer == "enc1/0" else 3
            notes.append(f"  {layer} starts afresh: {theirs[axis]} {what} there, {ours[axis]} here.")
            found = {leaf: value for leaf, value in found.items() if not leaf.startswith(f"{layer}/")}
            expected = {leaf: shape for leaf, shape in expected.items() if not leaf.startswith(f"{layer}/")}
    check_alike(path, model, weights.model, expected, shapes_of(found))
    return Initial(found, tuple(notes))


def shapes_of(leaves: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {path: value.shape for path, value in leaves.items()}


def differ_in_channels(layer: str, ours: tuple[int, ...], theirs: tuple[int, ...]) -> bool:
    """Whether two kernels differ in the images' channels, or the classes, alone."""
    axis = 2 if layer == "enc1/0" else 3
    return ours[:axis] + ours[axis + 1 :] == theirs[:axis] + theirs[axis + 1 :]


def check_alike(
    path: Path, ours: UNet, theirs: UNet, expected: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]
) -> None:
    settings = [
        f"  model.{name}: here {getattr(ours, name)}, there {getattr(theirs, name)}"
        for name in SETTINGS
        if getattr(ours, name) != getattr(theirs, name)
    ]
    rows = [
        (name, str(found.get(name, "-")), str(expected.get(name, "-")))
        for name in dict.fromkeys([*expected, *found])
        if found.get(name) != expected.get(name)
    ]
    if settings or rows:
        lines = [*settings, *([table(("name", "there", "here"), rows)] if rows else [])]
        raise InputError(f"--init {path} is of another architecture:\n" + "\n".join(lines))


def started_from(
    state: TrainState, initial: Initial, optimizer: optax.GradientTransformation, layout: Layout
) -> TrainState:
    """A new state with these weights in place of its own."""

    def replaced(tree: dict) -> dict:
        taken = {path: np.asarray(initial.leaves.get(path, leaf), np.float32) for path, leaf in flat(tree).items()}
        return jax.tree.unflatten(jax.tree.structure(tree), [taken[path] for path in sorted_paths(tree)])

    params, batch_stats = jax.device_put((replaced(state.params), replaced(state.batch_stats)), layout.state)
    opt_state = jax.jit(optimizer.init, out_shardings=layout.state)(params)
    average = None if state.average is None else jax.jit(started, out_shardings=layout.state)(params, batch_stats)
    return state._replace(params=params, batch_stats=batch_stats, opt_state=opt_state, average=average)


def sorted_paths(tree: dict) -> list[str]:
    """The paths in the order of JAX's leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
