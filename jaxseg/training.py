"""The loop: evaluate, save, next batch, step, log the previous step."""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jaxtyping import Array, Int32

from jaxseg import hosts, outcome
from jaxseg.cadence import Cadence
from jaxseg.checkpoint import Checkpoints, Progress
from jaxseg.config import Config
from jaxseg.consent import Consent
from jaxseg.data.loader import Loaded, eval_batches, eval_steps, train_batches
from jaxseg.guard import Verdict
from jaxseg.logs import RunLog
from jaxseg.loop import Clock, Compiled, Shown, evaluate_all
from jaxseg.metrics import Totals
from jaxseg.plan import Plan
from jaxseg.progress import progress_bar
from jaxseg.sharding import data_parallel
from jaxseg.step import StepResult, TrainState
from jaxseg.stopping import Stopped, Stopping
from jaxseg.story import CollapseWatch, report
from jaxseg.sums import Sums
from jaxseg.unsound import Skips, UnsoundStep, stop_at


class Pending(NamedTuple):
    """A step that was given to the device, and whose result the host has not seen yet."""

    step: int
    loaded: Loaded
    result: StepResult
    wish: Int32[Array, ""] | None


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
        self.consent = Consent(compiled, stopping, Cadence(self.config.checkpointing))
        self.rows = compiled.layout.rows(self.config.batch_size)
        self.saved = self.place
        self.clock = Clock(0.0, 0.0, 0)
        self.skips = Skips(int(state.health.skipped))
        self.rates = plan.config.learning_rates(plan.steps)

    @property
    def place(self) -> tuple[int, int]:
        """The step, and the epochs that are validated: a step may be saved before its validation, and after it."""
        return self.step, self.progress.epoch

    def run(self) -> None:
        """Until the last epoch is saved; or until it is asked to stop, and then to where it has come."""
        config, data = self.config, self.plan.train
        self.stopping.by_consent = hosts.several()
        with train_batches(data, config.batch_size, seed=config.seed, start=self.step, rows=self.rows) as batches:
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
        self.stopping.by_consent = False

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
                    if self.consent.due(self.step):
                        self.save()
                self.consent.obey()
                images += self.config.batch_size
                self.clock = Clock(time.perf_counter() - start, waiting, images)
                told = f"{self.clock.images_per_second:.1f} images/s, waiting {self.clock.waiting_share:.0%}"
                bar.set_postfix_str(f"loss {self.sums.totals.mean_loss:.4f}, {told}", refresh=False)
                bar.update()
            with self.stopping.held():
                self.settle()
            self.clock = Clock(time.perf_counter() - start, waiting, images)

    def advance(self, loaded: Loaded) -> None:
        """One step. The device has it before the host looks at the result of the step before, and so never waits."""
        batch = self.compiled.layout.put(loaded.batch)
        self.state, result, wish = self.consent.step(self.state, batch)
        self.settle()
        self.step += 1
        self.pending = Pending(self.step, loaded, result, wish)

    def settle(self) -> None:
        """Look at the result of the last step, once."""
        if self.pending is None:
            return
        (step, loaded, result, wish), self.pending = self.pending, None
        result = jax.device_get(result)
        update = (step - 1 - self.skips.total) // self.config.accumulate
        if result.verdict == Verdict.SOUND:
            self.sums.add(result)
            self.skips.in_a_row = 0
        elif self.config.guard.action == "stop":
            raise self.unsound(loaded, result)
        else:
            self.skips.note(step, loaded.image_ids, result)
        self.consent.hear(wish)
        if step % self.config.logs.every == 0:
            # Of this step alone; those left out, as the optimiser counts, are no updates.
            rate, norm = float(self.rates[min(update, len(self.rates) - 1)]), float(result.norm)
            loss = self.sums.take_loss()
            self.log.numbers(step, {"batch_loss": loss, "learning_rate": rate, "batch_gradient_norm": norm})

    def unsound(self, loaded: Loaded, result: StepResult) -> UnsoundStep:
        """The error to raise. Of several processes all stop by it; the first takes the whole batch apart."""
        folder, config, layout = self.plan.folder, self.config, self.compiled.layout
        if not layout.spans_processes:
            return stop_at(folder, config, layout, self.state, loaded, result)
        ids = np.concatenate([np.array(ids, np.int64) for ids in hosts.from_all(loaded.image_ids.tolist())])
        loaded = Loaded(process_allgather(loaded.batch, tiled=True), ids, {})
        state, layout = jax.device_get(self.state), data_parallel(config.batch_size)
        error = UnsoundStep(hosts.from_first(lambda: str(stop_at(folder, config, layout, state, loaded, result))))
        error.alike = True
        return error

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
        if pictured and hosts.first():
            with self.checkpoints.troubles.lived_with("loss_curves.png", folder.path):
                outcome.draw_curves(folder)

    def validate(self, keep: int) -> tuple[Totals, list[Shown]]:
        """The whole validation split, and its first `keep` images with what was predicted."""
        val, size = self.plan.val, self.config.batch_size
        with (
            eval_batches(val, size, step=self.step, rows=self.rows) as batches,
            progress_bar(eval_steps(val, size), "validation") as bar,
        ):
            settled = (self.plan.faults.settled("val", self.step, loaded) for loaded in self.consent.between(batches))
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
        self.consent.note_save()


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
