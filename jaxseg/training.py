"""The loop: evaluate, save, next batch, step, log the previous step."""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax

from jaxseg import outcome
from jaxseg.cadence import Cadence
from jaxseg.checkpoint import Checkpoints, Progress
from jaxseg.config import Config
from jaxseg.data.loader import Loaded, eval_batches, train_batches
from jaxseg.guard import Verdict
from jaxseg.logs import RunLog
from jaxseg.loop import Clock, Compiled, Shown, evaluate_all
from jaxseg.metrics import Totals
from jaxseg.plan import Plan
from jaxseg.progress import progress_bar
from jaxseg.step import StepResult, TrainState
from jaxseg.stopping import Stopped, Stopping
from jaxseg.story import CollapseWatch, report
from jaxseg.sums import Sums
from jaxseg.unsound import Skips, stop_at


class Pending(NamedTuple):
    """A step that was given to the device, and whose result the host has not seen yet."""

    step: int
    loaded: Loaded
    result: StepResult


class Training:
    """A run from where it stands to its end. Between two steps it can be saved, and goes on from there."""

    def __init__(
        self,
        plan: Plan,
        compiled: Compiled,
        checkpoints: Checkpoints,
        log: RunLog,
        stopping: Stopping,
        state: TrainState,
        progress: Progress,
    ) -> None:
        """`state` and `progress` are those of a new run, or a checkpoint's."""
        self.plan, self.compiled, self.checkpoints, self.log = plan, compiled, checkpoints, log
        self.config, self.stopping = plan.config, stopping
        self.state, self.progress, self.step = state, progress, int(state.step)
        self.pending: Pending | None = None
        sums = progress.running.get("sums")
        self.sums = Sums.from_json(sums) if sums else Sums.empty(compiled.classes)
        self.collapse = CollapseWatch(progress.running.get("collapse"))
        self.cadence = Cadence(self.config.checkpointing)
        self.saved = self.place
        self.clock = Clock(0.0, 0.0, 0)
        self.skips = Skips(int(state.health.skipped))

    @property
    def place(self) -> tuple[int, int]:
        """The step, and the epochs that are validated: a step may be saved before its validation, and after it."""
        return self.step, self.progress.epoch

    def run(self) -> None:
        """Until the last epoch is saved; or until it is asked to stop, and then to where it has come."""
        config = self.config
        with train_batches(self.plan.train, config.batch_size, seed=config.seed, start=self.step) as batches:
            try:
                while not finished(config, self.progress):
                    self.train(batches)
                    self.end_epoch()
            except Stopped:
                if self.saved != self.place:
                    self.save()
                self.checkpoints.wait()
                if self.step:
                    self.stopping.saved = f"Everything up to step {self.step} is saved."
                raise self.stopping.stopped() from None
        self.checkpoints.wait()

    def train(self, batches: Iterator[Loaded]) -> None:
        """What is left of the epoch."""
        epoch, steps = self.progress.epoch + 1, self.plan.steps
        done, start, waiting, images = self.step - self.progress.epoch * steps, time.perf_counter(), 0.0, 0
        with progress_bar(steps, f"epoch {epoch}/{self.config.epochs}", done=done) as bar:
            bar.set_postfix_str("" if self.clock.images else "the first step compiles")
            for _ in range(done, steps):
                asked = time.perf_counter()
                loaded = self.plan.faults.settled("train", self.step, next(batches))
                waiting += time.perf_counter() - asked
                with self.stopping.held():
                    self.advance(loaded)
                    if self.cadence.due(self.step):
                        self.save()
                images += len(loaded.image_ids)
                self.clock = Clock(time.perf_counter() - start, waiting, images)
                told = f"{self.clock.images_per_second:.1f} images/s, waiting {self.clock.waiting_share:.0%}"
                bar.set_postfix_str(f"loss {self.sums.totals.mean_loss:.4f}, {told}", refresh=False)
                bar.update()
            with self.stopping.held():
                self.settle()
            self.clock = Clock(time.perf_counter() - start, waiting, images)

    def advance(self, loaded: Loaded) -> None:
        """One step. The device has it before the host looks at the result of the step before, and so never waits."""
        batch = jax.device_put(loaded.batch, self.compiled.layout.batch)
        self.state, result = self.compiled.train(self.state, batch)
        self.settle()
        self.step += 1
        self.pending = Pending(self.step, loaded, result)

    def settle(self) -> None:
        """Look at the result of the last step, once."""
        if self.pending is None:
            return
        (step, loaded, result), self.pending = self.pending, None
        result = jax.device_get(result)
        if result.verdict == Verdict.SOUND:
            self.sums.add(result)
            self.skips.in_a_row = 0
        elif self.config.guard.action == "stop":
            raise stop_at(self.plan.folder, self.config, self.compiled.layout, self.state, loaded, result)
        else:
            self.skips.note(step, loaded.image_ids, result)
        if step % self.config.logs.every == 0:
            self.log.numbers(step, {"batch_loss": self.sums.take_loss()})

    def end_epoch(self) -> None:
        """Validate, record and save."""
        epoch, folder = self.progress.epoch + 1, self.plan.folder
        pictured = epoch % self.config.logs.pictures_every == 0
        validation, shown = self.validate(keep=self.config.logs.pictures if pictured else 0)
        with self.stopping.held():
            self.progress = after_epoch(self.progress, self.step, validation.mean_loss)
            training, self.sums = self.sums.totals, Sums.empty(self.compiled.classes)
            names = self.plan.train.table.names
            report(self.log, self.step, epoch, training, validation, self.clock, names, self.state.health)
            self.collapse.look(training, validation, last=finished(self.config, self.progress))
            if pictured:
                outcome.show(self.log, self.step, shown)
            self.save()
        if pictured:
            with self.checkpoints.troubles.lived_with("loss_curves.png", folder.path):
                outcome.draw_curves(folder)

    def validate(self, keep: int) -> tuple[Totals, list[Shown]]:
        """The whole validation split, and its first `keep` images with what was predicted."""
        val, size = self.plan.val, self.config.batch_size
        with (
            eval_batches(val, size, step=self.step) as batches,
            progress_bar(math.ceil(len(val) / size), "validation") as bar,
        ):
            settled = (self.plan.faults.settled("val", self.step, loaded) for loaded in batches)
            return evaluate_all(self.state, settled, self.compiled, bar=bar, keep=keep)

    def save(self) -> None:
        """A checkpoint of this very step, once all that was logged up to it is on disk; the next may go better."""
        self.settle()
        try:
            running = {"logs": self.log.secured(), "sums": self.sums.to_json(), "collapse": self.collapse.memory}
        except OSError as error:
            self.checkpoints.miss(self.step, error)
        else:
            self.checkpoints.save(self.step, self.state, self.progress._replace(running=running))
            self.saved = self.place
        self.cadence.note_save()


def finished(config: Config, progress: Progress) -> bool:
    """By the number of epochs, or by early stopping."""
    patience = math.inf if config.patience is None else config.patience
    return progress.epoch >= config.epochs or progress.epochs_since_best >= patience


def after_epoch(progress: Progress, step: int, val_loss: float) -> Progress:
    """The progress after one more epoch; a loss equal to the best counts as the best.

    While no loss was finite the newest step is the best: it is the only one whose checkpoint is sure to be kept.
    """
    if val_loss <= progress.best_loss and math.isfinite(val_loss):
        return Progress(progress.epoch + 1, step, val_loss, 0, running={})
    since = progress.epochs_since_best + 1 if progress.best_step else 0
    best_step = progress.best_step if math.isfinite(progress.best_loss) else step
    return Progress(progress.epoch + 1, best_step, progress.best_loss, since, running={})
