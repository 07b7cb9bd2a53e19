"""The pipeline: a batch as a pure function of (samples, seed, step), made by grain's threads or by processes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grain
import numpy as np

from jaxseg.data.assembly import PADDING, Assembly, Loaded, Order, Windows
from jaxseg.data.coco import DataError
from jaxseg.data.samples import LAST, KnownFault, Samples
from jaxseg.data.sampling import ALL, Epochs
from jaxseg.data.windows import Chances, Numbered, Recent
from jaxseg.data.workers import Workers

LEAST_PART = 4  # samples that are worth a thread's start


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
def train_batches(
    samples: Samples, batch_size: int, *, seed: int, start: int = 0, rows: slice = ALL
) -> Iterator[Iterator[Loaded]]:
    """Endless batches from step `start` on: each epoch drawn and shuffled anew, no batch spanning two.

    The batch of a step depends on the samples, `batch_size` and `seed` alone, not on threads or workers. Of each, these
    `rows` are loaded.

    Raises:
        DataError: for a negative seed.
    """
    if seed < 0:
        raise DataError(f"seed is {seed}: expected at least 0.")
    epochs = Epochs(samples.sampling, seed, batch_size, steps_per_epoch(samples, batch_size), rows)
    places = range(batch_size)[rows]
    windows = None if samples.data.crop is None else Chances(seed, places)
    how = (
        worked(samples, epochs, start, windows)
        if samples.data.workers
        else threaded(samples, epochs, len(places), start=start, windows=windows)
    )
    with how as batches:
        yield batches


@contextmanager
def eval_batches(
    samples: Samples, batch_size: int, *, step: int = LAST, rows: slice = ALL
) -> Iterator[Iterator[Loaded]]:
    """Every sample once, in order; the last batch is padded with weight 0. Faults are known as at a step of the run.

    With `data.crop`, every window that covers an image, one after the other. Of each batch, these `rows` are loaded.
    """
    known = {id_: KnownFault(0, fault.error) for id_, fault in samples.known_faults.items() if fault.step <= step}
    cropped = samples.data.crop is not None
    # As many pictures as threads may be at, whose windows are due next to one another.
    recent = Recent(samples.data.threads + 1) if cropped else None
    samples = replace(samples, known_faults=known, recent=recent)
    each, steps = samples.windows, eval_steps(samples, batch_size)
    due = np.full((2, steps * batch_size), PADDING)
    due[:, : each.sum()] = np.repeat(samples.positions, each), np.concatenate([np.arange(many) for many in each])
    order, numbers = due.reshape(2, steps, batch_size)[:, :, rows]
    windows = Numbered(numbers) if cropped else None
    # Threads alone: to start processes for each evaluation takes longer than most evaluations.
    with threaded(samples, order.__getitem__, order.shape[1], steps=steps, windows=windows) as batches:
        yield batches


def eval_steps(samples: Samples, batch_size: int) -> int:
    """Of an evaluation."""
    return -(-int(samples.windows.sum()) // batch_size)


@contextmanager
def threaded(
    samples: Samples,
    order: Order,
    batch_size: int,
    *,
    start: int = 0,
    steps: int = LAST,
    windows: Windows | None = None,
) -> Iterator[Iterator[Loaded]]:
    """The batches from `start` on, loaded by threads, a few ahead."""
    samples = replace(samples, patience=samples.patience.renewed())
    threads = samples.data.threads
    # Small batches are loaded side by side; of a large one each thread loads a part.
    parts = max(1, min(threads, batch_size // LEAST_PART))
    pool = ThreadPoolExecutor(threads, "jaxseg-loader") if parts > 1 else None
    # grain's default of 16 threads and 500 batches ahead costs memory and, on few cores, time.
    ahead = -(-threads // parts) + (parts > 1)
    batches = grain.MapDataset.range(steps).map(Assembly(samples, order, pool, parts, windows))[start:]
    iterator = iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=ahead, prefetch_buffer_size=ahead)))
    try:
        yield iterator
    finally:
        samples.patience.close()
        iterator.close()  # pyright: ignore[reportAttributeAccessIssue]  its threads would go on
        if pool:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def worked(samples: Samples, order: Order, start: int, windows: Windows | None) -> Iterator[Iterator[Loaded]]:
    """The batches from `start` on, loaded by worker processes, a few ahead."""
    workers = Workers(Assembly(samples, order, windows=windows), samples.data.workers, start)
    try:
        yield workers
    finally:
        workers.close()
