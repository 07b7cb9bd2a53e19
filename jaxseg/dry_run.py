"""What a training would take, told before anything is trained."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import jax

from jaxseg.config import Config
from jaxseg.data.loader import Loaded, eval_batches, eval_steps, steps_per_epoch, train_batches
from jaxseg.data.room import disk_left, told
from jaxseg.data.samples import Samples, open_split
from jaxseg.exhaustion import memory_told, needs, suggestions
from jaxseg.fitting import largest_batch
from jaxseg.footprint import Footprint, Room, footprint, lowered, room_of
from jaxseg.loop import compile_steps
from jaxseg.models.table import count_parameters
from jaxseg.plan import fitted
from jaxseg.sharding import Layout, data_parallel
from jaxseg.step import TrainState

LEAST, MOST, LONG = 3, 20, 10.0
"""Steps that are timed at least and at most, and the seconds after which no further one is."""
CHECKPOINTS = 3  # the newest two and the best


@dataclass(frozen=True)
class Timed:
    """Seconds of steps on real batches, one by one, and of waiting for those batches."""

    steps: tuple[float, ...]
    waiting: tuple[float, ...]

    @property
    def each(self) -> float:
        """A step with its wait, as an epoch will have it."""
        return median(map(sum, zip(self.steps, self.waiting, strict=True)))

    @property
    def waiting_share(self) -> float:
        """Of the time."""
        return sum(self.waiting) / (sum(self.waiting) + sum(self.steps))


@dataclass(frozen=True, repr=False)
class DryRun:
    """It shows itself as a table.

    Attributes:
        config: with what the data decided.
        devices: how many a step uses.
        compiling: seconds that it took to compile both steps.
        training: what a training step needs of each device.
        evaluation: what an evaluation step needs.
        room: what a device has.
        epoch: training and evaluation steps in one.
        largest: the largest batch size that would fit, of at most all the training `images`; 0 if none.
        timed: training and evaluation steps; None if they would not fit.
        disk: bytes free where the run folder would be.
    """

    config: Config
    devices: int
    parameters: int
    compiling: float
    training: Footprint
    evaluation: Footprint
    room: Room
    epoch: tuple[int, int]
    images: int
    largest: int
    timed: tuple[Timed, Timed] | None
    disk: int

    @property
    def fits(self) -> bool:
        """Whether both steps do."""
        return max(self.training.needed, self.evaluation.needed) <= self.room.usable

    @property
    def epoch_seconds(self) -> float | None:
        """Without pictures and checkpoints, which are written beside it."""
        return sum(n * t.each for n, t in zip(self.epoch, self.timed, strict=True)) if self.timed else None

    def __repr__(self) -> str:
        rows = list(self.rows())
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Name and value."""
        config, step = self.config, self.training
        yield "parameters", f"{self.parameters:,}"
        yield "batch size", f"{config.batch_size} on {self.devices} of {jax.local_device_count()} devices"
        yield "memory of a step", f"{told(step.needed)} on each device; {told(self.room.size)} is what {self.room.name}"
        yield "  state", f"{told(step.state)} (parameters, statistics, optimiser)"
        yield "  batch", told(step.batch)
        yield "  arguments", told(step.arguments)
        yield "  outputs", f"{told(step.outputs)}, of which {told(step.aliased)} take the place of arguments"
        yield "  temporaries", told(step.temporaries)
        yield (
            "  peak",
            told(step.peak) + (" (a CPU's leaves out the temporaries)" if self.room.platform == "cpu" else ""),
        )
        yield "memory of an evaluation", told(self.evaluation.needed)
        yield "largest batch that fits", f"{self.largest} (of {self.images} images at most)" if self.largest else "none"
        yield "FLOPs", f"{step.flops / 1e9:,.2f} G a step, {step.flops / config.batch_size / 1e9:,.2f} G an image"
        yield "bytes moved", f"{told(step.traffic)} a step, {told(step.traffic / config.batch_size)} an image"
        yield "compiling", f"{self.compiling:.1f} s"
        if self.timed and self.epoch_seconds:
            training, _ = self.timed
            yield "seconds a step", f"best {min(training.steps):.4g}, median {median(training.steps):.4g}"
            yield "images/s", f"{config.batch_size / training.each:.1f}, {training.waiting_share:.0%} waiting for data"
            yield "an epoch", f"{duration(self.epoch_seconds)} ({self.epoch[0]} steps, {self.epoch[1]} of evaluation)"
            yield "the whole run", f"{duration(self.epoch_seconds * config.epochs)} ({config.epochs} epochs)"
        kept = CHECKPOINTS * step.state + 2 * 4 * self.parameters
        yield "on disk", f"about {told(step.state)} a checkpoint, {told(kept)} at the end; {told(self.disk)} are free"


def dry_run(config: Config, workdir: Path | str = "runs") -> DryRun:
    """Compile the real steps of a training, run a few on real batches, and tell what the whole would take.

    Nothing is written: no weight is kept, and no run folder made. Steps that would not fit are not run.

    Raises:
        InputError: for data, sizes or settings that can't be used.
    """
    config.check()
    train = open_split(config.data, "train")
    val = open_split(config.data, "val", train.table)
    config = fitted(config, train)
    layout = data_parallel(config.batch_size)
    epoch = (steps_per_epoch(train, config.batch_size), eval_steps(val, config.batch_size))
    room = room_of(layout)
    with memory_told(config, layout):
        start = time.perf_counter()
        programs = lowered(config, layout)
        steps = [program.compile() for program in programs]
        compiling = time.perf_counter() - start
        needed = [footprint(program, step, layout) for program, step in zip(programs, steps, strict=True)]
        fits = max(found.needed for found in needed) <= room.usable
        timed = timings(config, layout, train, val, steps) if fits else None
        largest = largest_batch(config, layout, room.usable, needed[0], len(train))
    return DryRun(
        config,
        layout.mesh.size,
        count_parameters(config.model, config.data.channels),
        compiling,
        needed[0],
        needed[1],
        room,
        epoch,
        len(train),
        largest,
        timed,
        disk_left(Path(workdir).absolute()),
    )


def timings(config: Config, layout: Layout, train: Samples, val: Samples, steps: list[Any]) -> tuple[Timed, Timed]:
    """Of both steps, from new weights; the first of each, which warms up, is left out."""
    state = compile_steps(config, layout).create(jax.random.key(config.seed))
    train_step, eval_step = steps

    def learn(state: TrainState, batch: Any) -> TrainState:
        return train_step(state, batch)[0]

    def look(state: TrainState, batch: Any) -> TrainState:
        jax.block_until_ready(eval_step(state, batch))
        return state

    with train_batches(train, config.batch_size, seed=config.seed) as batches:
        state, training = timed_steps(learn, state, batches, layout)
    with eval_batches(val, config.batch_size) as batches:
        _, evaluation = timed_steps(look, state, batches, layout)
    return training, evaluation


def timed_steps(
    step: Callable[[TrainState, Any], TrainState], state: TrainState, batches: Iterator[Loaded], layout: Layout
) -> tuple[TrainState, Timed]:
    seconds, waiting, begun = [], [], time.perf_counter()
    while len(seconds) <= MOST and (len(seconds) <= LEAST or time.perf_counter() - begun < LONG):
        asked = time.perf_counter()
        loaded = next(batches, None)
        if loaded is None:
            break
        got = time.perf_counter()
        state = jax.block_until_ready(step(state, jax.device_put(loaded.batch, layout.batch)))
        waiting.append(got - asked)
        seconds.append(time.perf_counter() - got)
    first = min(1, len(seconds) - 1)
    return state, Timed(tuple(seconds[first:]), tuple(waiting[first:]))


def tell_dry_run(config: Config, workdir: Path) -> None:
    """For the command: the table, and exit status 1 with what would fit if it does not."""
    found = dry_run(config, workdir)
    print(found)
    if not found.fits:
        layout = data_parallel(found.config.batch_size)
        print(f"It does not fit. {needs(found.config, found.training)}.")
        print("\n".join(suggestions(found.config, layout, found.room.usable, found.training)))
        raise SystemExit(1)


def duration(seconds: float) -> str:
    """`4.2 s`, `3 min 20 s`, `5 h 12 min`."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"
