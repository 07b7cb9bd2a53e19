"""Saves and restores training states; the only file that imports orbax."""

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from jaxseg.errors import InputError

Which = Literal["best", "latest"] | int
"""A checkpoint of a run: of the lowest validation loss, the newest, or that of a step."""


NEW = ".new"
"""The ending of a checkpoint's folder while it is being written."""
REPLACED = ".replaced"
"""The ending of one that makes room for another of the same step."""


class Progress(NamedTuple):
    """What a run must remember beside its state; it goes into JSON, and every float comes back as it was.

    Attributes:
        epoch: epochs that are finished.
        best_step: the step of the lowest validation loss; its checkpoint is kept.
        best_loss: that loss.
        epochs_since_best: for early stopping.
        running: what the unfinished epoch has summed so far; {} at an epoch's end.
    """

    epoch: int
    best_step: int
    best_loss: float
    epochs_since_best: int
    running: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, a folder a step: the newest two, and the one of the lowest validation loss."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            tidy(self.folder)
        self.orbax = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.saving: Future[None] | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.wait()
        finally:
            self.thread.shutdown()
            self.orbax.close()

    def save(self, step: int, state: PyTree, progress: Progress) -> None:
        """Save in the background, once the save before is done; the state may be donated at once.

        A checkpoint of the same step is replaced. Kept are the newest two and that of `progress.best_step`.
        """
        self.wait()
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress._asdict()))
        self.orbax.save(self.folder / f"{step}{NEW}", args=items, force=True)
        self.saving = self.thread.submit(self.commit, step, progress.best_step)

    def commit(self, step: int, best_step: int) -> None:
        """Give a checkpoint its name when it is whole, and remove those that are not kept."""
        self.orbax.wait_until_finished()
        if jax.process_index() != 0:
            return
        place, fresh, replaced = (self.folder / f"{step}{ending}" for ending in ("", NEW, REPLACED))
        if place.exists():
            place.rename(replaced)
        fresh.rename(place)
        shutil.rmtree(replaced, ignore_errors=True)
        steps = saved_steps(self.folder)
        for old in set(steps) - {*steps[-2:], best_step}:
            shutil.rmtree(self.folder / str(old))

    def newest(self, like: PyTree) -> tuple[Any, Progress] | None:
        """The state and progress of the newest intact checkpoint; None if there is none at all.

        `like` gives shapes, types and shardings.
        """
        steps = saved_steps(self.folder)
        return self.restore(steps[-1], like) if steps else None

    def restore(self, step: int, like: PyTree) -> tuple[Any, Progress]:
        """The state and progress of a step; `like` gives shapes, types and shardings."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore())
        restored = self.orbax.restore(self.folder / str(step), args=items)
        return restored["state"], Progress(**restored["progress"])

    def wait(self) -> None:
        """Until everything saved is on disk."""
        if self.saving is not None:
            saving, self.saving = self.saving, None
            saving.result()


def tidy(folder: Path) -> None:
    """Remove what a killed run was still writing, and undo a replacement that it did not end."""
    for path in folder.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(path)
    for path in folder.glob(f"*{NEW}"):
        shutil.rmtree(path)
    for path in folder.glob(f"*{REPLACED}"):
        if path.with_suffix("").exists():
            shutil.rmtree(path)
        else:
            path.rename(path.with_suffix(""))


def saved_steps(folder: Path) -> list[int]:
    """The steps whose checkpoints were saved whole, the newest last."""
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())


def load_weights(folder: Path, which: Which, like: dict[str, PyTree]) -> dict[str, PyTree]:
    """The parts of a saved state that `like` names, such as {"params": ...}, as NumPy arrays of its shapes.

    Raises:
        InputError: if there is no such checkpoint, or it does not hold just these arrays.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not there: the run saved no checkpoint yet. Let it train for an epoch.")
    handlers = {"state": ocp.PyTreeCheckpointHandler(), "progress": ocp.JsonCheckpointHandler()}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler(**handlers)) as reader:
        step = choose_step(reader, which, folder.resolve())
        place = folder.resolve() / str(step)
        saved = reader.metadata(place).item_metadata["state"].tree
        check_shapes(like, {part: saved.get(part) or {} for part in like}, f"{folder}/{step}")
        arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
        args = ocp.args.PyTreeRestore(like, restore_args=arrays, partial_restore=True)
        return reader.restore(place, args=ocp.args.Composite(state=args))["state"]


def choose_step(reader: ocp.Checkpointer, which: Which, folder: Path) -> int:
    steps = saved_steps(folder)
    if not steps:
        raise InputError(f"{folder} holds no checkpoint: the run was stopped before its first epoch ended.")
    step = steps[-1] if isinstance(which, str) else which
    if which == "best":
        args = ocp.args.Composite(progress=ocp.args.JsonRestore())
        step = reader.restore(folder / str(step), args=args)["progress"]["best_step"]
    if step not in steps:
        raise InputError(f"{folder} holds no checkpoint of step {step}; it has {', '.join(map(str, steps))}.")
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
