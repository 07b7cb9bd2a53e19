"""The grain pipeline: a batch as a pure function of (samples, seed, step)."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import grain
import numpy as np
from jaxtyping import Int64

from jaxseg.arrays import Batch
from jaxseg.data.coco import DataError
from jaxseg.data.samples import Samples


class Loaded(NamedTuple):
    """A batch, with what stays on the host: the images' ids (-1: padding), and faults by image id."""

    batch: Batch
    image_ids: Int64[np.ndarray, " batch"]
    faults: dict[int, str]


def steps_per_epoch(samples: Samples, batch_size: int) -> int:
    """Whole batches in an epoch; what remains is left to another shuffle.

    Raises:
        DataError: if the split is smaller than one batch.
    """
    if batch_size < 1:
        raise DataError(f"batch_size is {batch_size}: take at least 1.")
    if len(samples) < batch_size:
        raise DataError(f"batch_size {batch_size} is more than the {len(samples)} training images: take at most that.")
    return len(samples) // batch_size


@contextmanager
def train_batches(samples: Samples, batch_size: int, *, seed: int, start: int = 0) -> Iterator[Iterator[Loaded]]:
    """Endless batches from step `start` on: each epoch shuffled anew, no batch spanning two.

    The n-th batch depends on the samples, `batch_size` and `seed` alone, not on threads or workers.

    Raises:
        DataError: for a negative seed.
    """
    if seed < 0:
        raise DataError(f"seed is {seed}: expected at least 0.")
    dataset = grain.MapDataset.source(samples).seed(seed).shuffle().batch(batch_size, drop_remainder=True).repeat()
    with opened(dataset[start:], samples.data.threads, samples.data.workers) as batches:
        yield batches


@contextmanager
def eval_batches(samples: Samples, batch_size: int) -> Iterator[Iterator[Loaded]]:
    """Every sample once, in order; the last batch is padded with weight 0."""
    pad = partial(grain.experimental.batch_and_pad, batch_size=batch_size, pad_value=0)
    numbered = grain.MapDataset.source(samples).map(number)
    # Threads alone: to start processes for each evaluation takes longer than most evaluations.
    with opened(numbered.batch(batch_size, batch_fn=pad), samples.data.threads, workers=0) as batches:
        yield batches


def number(sample: Any) -> Any:
    """Marks a sample as real: padding is 0 in every array, and 0 may be an image's id."""
    return {**sample, "real": np.ones((), np.bool_)}


@contextmanager
def opened(dataset: grain.MapDataset, threads: int, workers: int) -> Iterator[Iterator[Loaded]]:
    # grain's default of 16 threads and 500 buffered batches costs memory and, on few cores, time.
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    iterable = dataset.to_iter_dataset(options)
    if workers:
        allow_workers_outside_absl()
        iterable = iterable.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    iterator = iter(iterable)
    try:
        yield map(to_loaded, map(copied, iterator) if workers else iterator)
    finally:
        iterator.close()  # pyright: ignore[reportAttributeAccessIssue]  workers would outlive us


def copied(record: Any) -> Any:
    """Out of the memory shared with the workers, which nobody frees if the program ends while a batch is held."""
    return {key: np.array(value) for key, value in record.items()}


def to_loaded(record: Any) -> Loaded:
    batch = Batch(record["image"], record["mask"], record["weight"].astype(np.float32))
    ids = np.where(record.get("real", True), record["image_id"], -1)
    faulty = np.flatnonzero(record["fault"][:, 0])
    faults = {int(ids[i]): bytes(record["fault"][i]).rstrip(b"\0").decode(errors="ignore") for i in faulty}
    return Loaded(batch, ids, faults)


def allow_workers_outside_absl() -> None:
    """grain's workers pass on absl's flags, and fail in a program that never parsed any."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
