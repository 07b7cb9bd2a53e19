"""The grain pipeline: a batch as a pure function of (samples, seed, step)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import grain
import numpy as np
from jaxtyping import Int64

from jaxseg.arrays import Batch
from jaxseg.data.coco import DataError
from jaxseg.data.samples import FAULT_BYTES, Samples
from jaxseg.data.sampling import Sampling

PADDING = -1  # in place of a position and of an image's id
LEAST_PART = 4  # samples that are worth a thread's start


class Loaded(NamedTuple):
    """A batch, with what stays on the host: the images' ids (-1: padding), and faults by image id."""

    batch: Batch
    image_ids: Int64[np.ndarray, " batch"]
    faults: dict[int, str]


def steps_per_epoch(samples: Samples, batch_size: int) -> int:
    """Whole batches in an epoch, the same in each; what remains is left to another shuffle.

    Raises:
        DataError: if the split is smaller than one batch.
    """
    if batch_size < 1:
        raise DataError(f"batch_size is {batch_size}: take at least 1.")
    steps = samples.sampling.length(batch_size) // batch_size
    if not steps:
        most = int(samples.sampling.total)
        raise DataError(f"batch_size {batch_size} is more than the {most} training images: take at most that.")
    return steps


@contextmanager
def train_batches(samples: Samples, batch_size: int, *, seed: int, start: int = 0) -> Iterator[Iterator[Loaded]]:
    """Endless batches from step `start` on: each epoch drawn and shuffled anew, no batch spanning two.

    The n-th batch depends on the samples, `batch_size` and `seed` alone, not on threads or workers.

    Raises:
        DataError: for a negative seed.
    """
    if seed < 0:
        raise DataError(f"seed is {seed}: expected at least 0.")
    epochs = Epochs(samples.sampling, seed, batch_size, steps_per_epoch(samples, batch_size))
    order = grain.MapDataset.range(epochs.steps).repeat().map_with_index(epochs)
    with opened(samples, order, batch_size, start=start, workers=samples.data.workers) as batches:
        yield batches


@contextmanager
def eval_batches(samples: Samples, batch_size: int) -> Iterator[Iterator[Loaded]]:
    """Every sample once, in order; the last batch is padded with weight 0."""
    steps = -(-len(samples) // batch_size)
    padded = np.full(steps * batch_size, PADDING)
    padded[: len(samples)] = samples.positions
    order = grain.MapDataset.source(list(padded.reshape(steps, batch_size)))
    # Threads alone: to start processes for each evaluation takes longer than most evaluations.
    with opened(samples, order, batch_size, workers=0) as batches:
        yield batches


class Epochs:
    """A step, and its place in its epoch, to positions in the index."""

    def __init__(self, sampling: Sampling, seed: int, batch_size: int, steps: int) -> None:
        self.sampling, self.seed, self.batch_size, self.steps = sampling, seed, batch_size, steps
        self.drawn: dict[int, np.ndarray] = {}

    def __call__(self, step: int, place: int) -> Int64[np.ndarray, " batch"]:
        epoch = step // self.steps
        drawn = self.drawn.get(epoch)
        if drawn is None:  # threads may draw one twice: the same
            drawn = self.sampling.epoch(self.seed, epoch, self.steps * self.batch_size)
            near = {other: those for other, those in self.drawn.items() if abs(other - epoch) == 1}
            self.drawn = {epoch: drawn, **near}
        return drawn[place * self.batch_size :][: self.batch_size]


class Assembly:
    """Positions to a batch; with a pool, so many of its threads share the work, so that the first batch comes soon."""

    def __init__(self, samples: Samples, pool: ThreadPoolExecutor | None, parts: int) -> None:
        self.samples, self.pool, self.parts = samples, pool, parts

    def __call__(self, positions: Int64[np.ndarray, " batch"]) -> dict[str, np.ndarray]:
        data, size = self.samples.data, len(positions)
        batch = {
            "image": np.zeros((size, data.height, data.width, data.channels), np.uint8),
            "mask": np.zeros((size, data.height, data.width), np.uint8),
            "weight": np.zeros(size, np.float32),
            "image_id": np.full(size, PADDING),
            "fault": np.zeros((size, FAULT_BYTES), np.uint8),
        }
        real = np.flatnonzero(positions != PADDING)
        fill, parts = partial(self.fill, batch, positions), np.array_split(real, self.parts)
        for _ in self.pool.map(fill, parts) if self.pool else map(fill, parts):
            pass
        return batch

    def fill(self, batch: dict[str, np.ndarray], positions: np.ndarray, places: np.ndarray) -> None:
        for place in places:
            for name, value in self.samples.at(int(positions[place])).items():
                batch[name][place] = value


@contextmanager
def opened(
    samples: Samples, order: grain.MapDataset, batch_size: int, *, start: int = 0, workers: int
) -> Iterator[Iterator[Loaded]]:
    """The batches of these positions, loaded by threads or by worker processes, a few ahead."""
    threads = 0 if workers else samples.data.threads
    # Small batches are loaded side by side; of a large one each thread loads a part.
    parts = max(1, min(threads, batch_size // LEAST_PART))
    pool = ThreadPoolExecutor(threads, "jaxseg-loader") if parts > 1 else None
    # grain's default of 16 threads and 500 batches ahead costs memory and, on few cores, time.
    ahead = -(-threads // parts) + (parts > 1)
    batches = order.map(Assembly(samples, pool, parts))[start:]
    iterable = batches.to_iter_dataset(grain.ReadOptions(num_threads=ahead, prefetch_buffer_size=ahead))
    if workers:
        allow_workers_outside_absl()
        iterable = iterable.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    iterator = iter(iterable)
    try:
        yield map(to_loaded, map(copied, iterator) if workers else iterator)
    finally:
        iterator.close()  # pyright: ignore[reportAttributeAccessIssue]  workers would outlive us
        if pool:
            pool.shutdown(wait=False, cancel_futures=True)


def copied(record: Any) -> Any:
    """Out of the memory shared with the workers, which nobody frees if the program ends while a batch is held."""
    return {key: np.array(value) for key, value in record.items()}


def to_loaded(record: Any) -> Loaded:
    batch, ids = Batch(record["image"], record["mask"], record["weight"]), record["image_id"]
    faulty = np.flatnonzero(record["fault"][:, 0])
    faults = {int(ids[i]): bytes(record["fault"][i]).rstrip(b"\0").decode(errors="ignore") for i in faulty}
    return Loaded(batch, ids, faults)


def allow_workers_outside_absl() -> None:
    """grain's workers pass on absl's flags, and fail in a program that never parsed any."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
