"""Saves and restores training states; the only file that imports orbax."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN


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
