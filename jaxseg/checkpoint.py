"""Saves and restores training states; the only file that imports orbax."""

import errno
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from jaxseg import hosts
from jaxseg.errors import InputError
from jaxseg.hush import hush
from jaxseg.likeness import check_arrays
from jaxseg.shelf import NEW, SEALED, DamageError, Shelf
from jaxseg.step import TrainState
from jaxseg.trouble import REFUSALS, Troubles, advice, kind, reason, refusal, warn

Which = Literal["best", "latest"] | int
"""A checkpoint of a run: of the lowest validation loss, the newest, or that of a step."""
CHECKPOINT = "a checkpoint"
"""What `Troubles` calls it."""
MOST_FAULTS = 8
"""Of one save."""


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
    """The checkpoints of one run: the newest two, and the one of the lowest validation loss."""

    def __init__(self, folder: Path, troubles: Troubles | None = None) -> None:
        """What a killed run left unfinished is removed."""
        folder.mkdir(parents=True, exist_ok=True)
        self.shelf, self.troubles = Shelf(folder), troubles or Troubles()
        if hosts.first():
            self.shelf.tidy()
        hush()
        self.orbax = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.saving: Future[None] | None = None
        self.missed: str | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.finish()
        finally:
            self.thread.shutdown()
            self.forget()
            self.orbax.close()

    def save(self, step: int, state: TrainState, progress: Progress) -> None:
        """Save in the background, once the save before is done; the state may be donated at once.

        A checkpoint of the same step is replaced. Kept are the newest two and that of `progress.best_step`. Where the
        disk refuses it, that is told, those that are there stay, and the next call tries again.
        """
        self.finish()
        self.forget()
        folder, told = self.shelf.path, ocp.args.JsonSave(progress._asdict())
        items = ocp.args.Composite(state=ocp.args.StandardSave(state.parts), progress=told)
        try:
            if hosts.first() and not folder.is_dir():
                warn(f"{folder} was deleted under the run, with all its checkpoints. It is made again.")
                folder.mkdir(parents=True, exist_ok=True)
            if hosts.first():
                self.shelf.drop_unfinished()
            identity = folder.stat()
            self.orbax.save(folder.resolve() / f"{step}{NEW}", args=items, force=True, custom_metadata=SEALED)
        except (OSError, ValueError) as error:
            if kind(error) is None:
                raise
            self.miss(step, error)
        else:
            self.saving = self.thread.submit(self.commit, step, progress.best_step, identity)

    def commit(self, step: int, best_step: int, identity: os.stat_result) -> None:
        """In the background: give a checkpoint its place when it is whole, and remove those that are not kept."""
        try:
            self.orbax.wait_until_finished()
            if not hosts.first():  # which comes to this when all have written their part
                return
            if not os.path.samestat(self.shelf.path.stat(), identity):  # then a part of it was deleted too
                raise FileNotFoundError(errno.ENOENT, "deleted under the run", str(self.shelf.path))
            self.shelf.put(step)
        except Exception as error:  # whatever it was: the checkpoint is not there, and the run must say so
            self.miss(step, error)
            return
        self.missed = None
        self.troubles.over(CHECKPOINT)
        try:
            self.shelf.keep({*self.shelf.steps()[-2:], best_step})
        except OSError as error:
            self.troubles.tell("the removal of an old checkpoint", error, self.shelf.path, "It stays for now.")

    def miss(self, step: int, error: Exception) -> None:
        """Tell that the checkpoint of a step is not there, and why; what there is of it is removed.

        Raises:
            InputError: of several processes: the others may be in the middle of it, and can't go on alike.
        """
        if hosts.first():
            self.shelf.drop_unfinished()
        steps, folder = self.shelf.steps(), self.shelf.path
        if kind(error) not in REFUSALS:  # of several errors at once, orbax may have given another one
            error = refusal(folder) or error
        newest = f"The newest one on disk is of step {steps[-1]}." if steps else "There is none on disk."
        self.missed = (
            f"The checkpoint of step {step} could not be written: {reason(error)}. {advice(error, folder)} "
            f"{newest} Then give the same command again: it goes on from there."
        )
        if hosts.several():
            raise InputError(self.missed)
        then = f"{newest} Training goes on, and tries again at the next checkpoint."
        self.troubles.tell(CHECKPOINT, error, folder, then)

    def forget(self) -> None:
        """What else a missed save could not write, which orbax would tell at its next calls; and what it left since."""
        if self.missed is None:
            return
        for _ in range(MOST_FAULTS):
            try:
                self.orbax.wait_until_finished()
                break
            except Exception:
                continue
        if hosts.first():
            self.shelf.drop_unfinished()

    def finish(self) -> None:
        """Until nothing is being written."""
        if self.saving is not None:
            saving, self.saving = self.saving, None
            saving.result()

    def wait(self) -> None:
        """Until everything saved is on disk, by all processes.

        Raises:
            InputError: if the last one could not be written.
        """
        self.finish()
        if self.missed:
            raise InputError(self.missed)
        hosts.from_first(lambda: None)

    def newest(self, like: TrainState) -> tuple[TrainState, Progress] | None:
        """The state and progress of the newest intact checkpoint; None if there is none at all.

        Damaged ones are told and put aside. `like` gives shapes, types and shardings.

        Raises:
            InputError: if none is intact, or the newest one that is holds another state.
        """
        damaged: dict[int, list[str]] = {}
        for step in reversed(hosts.from_first(self.shelf.steps)):
            try:
                state, progress = self.restore(step, like)
            except DamageError as error:
                damaged[step] = error.found
                continue
            if hosts.first():
                best = progress.best_step
                if best < step and self.shelf.place(best).exists() and (found := self.shelf.damage(best)):
                    damaged[best] = found
                self.shelf.put_aside(damaged, f"Training goes on from step {step}.")
            return state, progress
        if damaged:
            raise self.shelf.none_intact(damaged)
        return None

    def best(self, step: int, like: TrainState) -> TrainState | None:
        """The state of the best step; None, and a loud line, if its checkpoint is damaged or gone."""
        try:
            return self.restore(step, like)[0]
        except DamageError as error:
            if hosts.first():
                warn(f"The best checkpoint is lost: {error} The last weights stand in for the best.")
            return None

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, Progress]:
        """The state and progress of a step; `like` gives shapes, types and shardings.

        Raises:
            DamageError: naming the files that are not as they were written.
            InputError: naming each array that is missing, extra, misshapen or of another type.
        """
        place = self.shelf.place(step)
        if found := hosts.from_first(lambda: self.shelf.damage(step)):
            raise DamageError(place, found)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like.parts)
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore())
        try:
            with reading() as reader:
                saved = reader.metadata(place.resolve()).item_metadata["state"].tree
            check_arrays(like, saved, str(place), "a state of the model and the optimiser that were described")
            restored = self.orbax.restore(place.resolve(), args=items)
        except InputError:
            raise
        except (OSError, ValueError, KeyError) as error:  # as of a file that was lost before the digests were made
            damage = DamageError(place, [f"orbax can't read it: {reason(error)}"])
            raise InputError(str(damage)) if hosts.several() else damage from error  # the others may have read it
        return like._replace(**restored["state"]), Progress(**{"running": {}, **restored["progress"]})


def reading() -> ocp.Checkpointer:
    """For parts of a checkpoint, and for what it holds."""
    handlers = {"state": ocp.PyTreeCheckpointHandler(), "progress": ocp.JsonCheckpointHandler()}
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler(**handlers))


def load_weights(folder: Path, which: Which, like: dict[str, PyTree]) -> dict[str, PyTree]:
    """The parts of a saved state that `like` names, such as {"params": ...}, as NumPy arrays of its shapes.

    Where an average of them was kept, they are the averages. For "latest", damaged ones are passed over, which is told.

    Raises:
        InputError: if there is no such checkpoint, it is damaged, or it does not hold just these arrays.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not there: the run saved no checkpoint yet. Let it train for an epoch.")
    with reading() as reader:
        place = Shelf(folder).place(choose_step(reader, which, Shelf(folder)))
        saved = reader.metadata(place.resolve()).item_metadata["state"].tree
        average = saved.get("average", {})
        found = {part: {**saved, **average}.get(part) or {} for part in like}
        check_arrays(like, found, str(place), "the weights of the network that was described")
        asked: dict[str, PyTree] = {part: like[part] for part in like if part not in average}
        asked |= {"average": {part: like[part] for part in like if part in average}} if average else {}
        arrays = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), asked)
        args = ocp.args.PyTreeRestore(asked, restore_args=arrays, partial_restore=True)
        restored = reader.restore(place.resolve(), args=ocp.args.Composite(state=args))["state"]
        return restored.pop("average", {}) | restored


def choose_step(reader: ocp.Checkpointer, which: Which, shelf: Shelf) -> int:
    """The step that is asked for; its checkpoint is intact."""
    steps = shelf.steps()
    if not steps:
        raise InputError(f"{shelf.path} holds no checkpoint: the run was stopped before its first epoch ended.")
    if which == "latest":
        return shelf.newest_intact()
    if which == "best":
        place = shelf.place(shelf.newest_intact("progress/")).resolve()
        args = ocp.args.Composite(progress=ocp.args.JsonRestore())
        which = int(reader.restore(place, args=args)["progress"]["best_step"])
    if which not in steps:
        raise InputError(f"{shelf.path} holds no checkpoint of step {which}; it has {', '.join(map(str, steps))}.")
    if found := shelf.damage(which):
        intact = [str(step) for step in steps if step != which and not shelf.damage(step)]
        instead = f"Intact: {', '.join(intact)}; try --checkpoint {intact[-1]}." if intact else "No other is intact."
        raise InputError(f"{DamageError(shelf.place(which), found)} {instead}")
    return which
