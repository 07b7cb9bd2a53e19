"""Saves and restores training states; the only file that imports orbax."""

import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jaxseg.errors import InputError

Which = Literal["best", "latest"] | int
"""A checkpoint of a run: of the lowest validation loss, the newest, or that of a step."""


class Progress(NamedTuple):
    """What a run must remember beside its state."""

    epoch: int
    best_step: int
    best_loss: float
    epochs_since_best: int


class Checkpoints:
    """The checkpoints of one run: the latest, and the one of the lowest validation loss."""

    def __init__(self, folder: Path) -> None:
        best = BestN(get_metric_fn=lambda metrics: metrics["val_loss"], reverse=True, n=1)
        options = ocp.CheckpointManagerOptions(preservation_policy=AnyPreservationPolicy([LatestN(1), best]))
        self.manager = ocp.CheckpointManager(folder.resolve(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.manager.close()

    def latest_step(self) -> int | None:
        """The newest step that was saved whole; None if there is none."""
        return self.manager.latest_step()

    def save(self, step: int, state: PyTree, progress: Progress, val_loss: float) -> None:
        """Save in the background; the state may be donated at once. A NaN loss never counts as the best."""
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress._asdict()))
        rank = val_loss if math.isfinite(val_loss) else 1e30
        if not self.manager.save(step, args=items, metrics={"val_loss": rank}):
            raise RuntimeError(
                f"The checkpoint of step {step} was not written: {self.manager.directory} holds a newer one."
            )

    def restore(self, step: int, like: PyTree) -> tuple[Any, Progress]:
        """The state and progress of a step; `like` gives shapes, types and shardings."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore())
        restored = self.manager.restore(step, args=items)
        return restored["state"], Progress(**restored["progress"])

    def wait(self) -> None:
        """Until everything saved is on disk."""
        self.manager.wait_until_finished()


def load_weights(folder: Path, which: Which, like: dict[str, PyTree]) -> dict[str, PyTree]:
    """The parts of a saved state that `like` names, such as {"params": ...}, as NumPy arrays of its shapes.

    Raises:
        InputError: if there is no such checkpoint, or it does not hold just these arrays.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not there: the run saved no checkpoint yet. Let it train for an epoch.")
    handlers = {"state": ocp.PyTreeCheckpointHandler(), "progress": ocp.JsonCheckpointHandler()}
    options = ocp.CheckpointManagerOptions(create=False)
    with ocp.CheckpointManager(folder.resolve(), item_handlers=handlers, options=options) as manager:
        step = choose_step(manager, which, folder)
        saved = manager.item_metadata(step)["state"].tree
        check_shapes(like, {part: saved.get(part) or {} for part in like}, f"{folder}/{step}")
        arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
        args = ocp.args.PyTreeRestore(like, restore_args=arrays, partial_restore=True)
        return manager.restore(step, args=ocp.args.Composite(state=args))["state"]


def choose_step(manager: ocp.CheckpointManager, which: Which, folder: Path) -> int:
    steps = manager.all_steps()
    if not steps:
        raise InputError(f"{folder} holds no checkpoint: the run was stopped before its first epoch ended.")
    step = max(steps) if isinstance(which, str) else which
    if which == "best":
        progress = manager.restore(step, args=ocp.args.Composite(progress=ocp.args.JsonRestore()))["progress"]
        step = progress["best_step"]
    if step not in steps:
        raise InputError(f"{folder} holds no checkpoint of step {step}; it has {', '.join(map(str, sorted(steps)))}.")
    return step


def check_shapes(expected: PyTree, saved: PyTree, where: str) -> None:
    """Raise an InputError that names what is missing, extra or misshapen in `saved`."""
    ours, theirs = (
        {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}
        for leaves in (jax.tree_util.tree_leaves_with_path(tree) for tree in (expected, saved))
    )
    faults = [f"missing: {name} {ours[name]}" for name in ours if name not in theirs]
    faults += [f"extra: {name} {theirs[name]}" for name in theirs if name not in ours]
    both = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    faults += [f"misshapen: {name} is {theirs[name]}, expected {ours[name]}" for name in both]
    if faults:
        more = f"\n  ... and {len(faults) - 12} more" if len(faults) > 12 else ""
        listed = "\n  ".join(faults[:12])
        raise InputError(f"{where} does not hold the weights of the network that was described:\n  {listed}{more}")
