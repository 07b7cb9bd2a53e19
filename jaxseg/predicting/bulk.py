"""Files through a model, and what it says of them onto the disk."""

import errno
import hashlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from jaxseg.errors import InputError
from jaxseg.predicting.inference import LARGE, Setting, Subject, prepared, through
from jaxseg.predicting.inputs import FOLDERS, Item, find_items
from jaxseg.predicting.journal import Ids, Journal, ids_of, numbered, write_results
from jaxseg.predicting.outputs import Job, Output, paths_of, write_outputs
from jaxseg.predicting.photograph import Orientation
from jaxseg.predicting.tiles import Tile
from jaxseg.predicting.tta import NO_TTA, Tta
from jaxseg.predicting.video import predict_video
from jaxseg.predictor import Predictor
from jaxseg.progress import progress_bar
from jaxseg.run import remove_unfinished

NAMING = {errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EILSEQ}
"""Errors in writing that are of one file's name: the others can be written."""


class Done(NamedTuple):
    """How many files were predicted now, and how many before; those that could not be read, with the reason."""

    predicted: int
    before: int
    faults: dict[str, str]


def predict_files(
    model: Predictor,
    inputs: Sequence[Path | str],
    out: Path | str,
    *,
    save: tuple[Output, ...] = ("mask", "overlay", "results"),
    threshold: float | None = None,
    orientation: Orientation | None = None,
    tile: Tile | None = None,
    tta: Tta = NO_TTA,
    images_json: Path | None = None,
    batch_size: int = 8,
    threads: int | None = None,
    resume: bool = False,
) -> Done:
    """Predict files and folders, and write to `out`; what each setting does, `predict.PredictArguments` says.

    Raises:
        InputError: if there is nothing to predict, `out` can't be gone on with or written to, or a setting can't be.
    """
    if not save or batch_size < 1 or (threads is not None and threads < 1):
        raise InputError("give at least one output to --save, and at least 1 as --batch-size and --threads.")
    tile = model.tiling(tile)
    setting = Setting(
        model.chosen_threshold(threshold),
        tile,
        orientation or ("stored" if images_json else "shown"),
        "chosen" if "probability" in save else "nothing",
    )
    threads = threads or min(8, os.cpu_count() or 1)
    job = Job(model.network(tta, tile), setting, save, Path(out), model.classes, batch_size, threads)
    items = find_items(inputs, job.out)
    ids = ids_of(images_json, items, model.classes) if images_json else numbered(items, model.classes)
    try:
        with Journal(job.out, fingerprint(model, job, tta), resume=resume) as journal:
            for pattern in (".results-*", ".images-*", *(f"{name}/**/.*" for name in FOLDERS)):
                remove_unfinished(job.out, pattern)
            left = journal.left(items, lambda item: paths_of(item, job))
            start = time.perf_counter()
            faults = run_all(left, job, journal)
            seconds = time.perf_counter() - start
            if "results" in save:
                write_results(job.out, journal, items, ids, model.classes)
    except OSError as error:
        raise InputError(f"{out} can't be written to: {error}.") from error
    done = Done(len(left) - len(faults), len(items) - len(left), faults)
    tell(done, job, ids, seconds)
    return done


def fingerprint(model: Predictor, job: Job, tta: Tta) -> dict[str, Any]:
    """What the outputs depend on, beside the pictures: a run goes on with the same alone."""
    digest = hashlib.sha256(json.dumps(model.description, sort_keys=True).encode())
    for leaf in jax.tree.leaves(model.variables):
        digest.update(np.ascontiguousarray(leaf).data)
    content = {"model": digest.hexdigest()[:16], **asdict(job.setting), "tta": asdict(tta), "save": sorted(job.save)}
    return json.loads(json.dumps(content))


def run_all(items: Sequence[Item], job: Job, journal: Journal) -> dict[str, str]:
    """Predict each, and note it in the journal, in order; the faults."""
    faults: dict[str, str] = {}
    images, videos = ([item for item in items if item.is_video is kind] for kind in (False, True))
    with progress_bar(len(items), "predicting") as bar, ThreadPoolExecutor(job.threads) as pool:
        for item, outcome in chain(predicted(images, job, pool, bar), filmed(videos, job, pool, bar)):
            if isinstance(outcome, str):
                faults[item.name] = outcome
                tqdm.write(f"skipped: {outcome}", file=sys.stderr)
            else:
                journal.add(outcome)
            bar.update()
    return faults


def predicted(
    items: Sequence[Item], job: Job, pool: Executor, bar: tqdm
) -> Iterator[tuple[Item, dict[str, Any] | str]]:
    """Each image's record once its outputs are written, or its fault."""
    by_path = {item.path: item for item in items}
    finishing: deque[tuple[Item, int, Future[dict[str, Any] | str]]] = deque()
    ahead = 2 * job.batch_size if job.setting.tile is None else 2
    subjects = prepared((item.path for item in items), job.network, job.setting, pool, ahead)

    def watch(subject: Subject) -> None:
        if subject.work is not None and subject.work.count > 1:
            bar.set_postfix_str(f"tile {subject.work.seen} of {subject.work.count}")

    for subject in through(job.network, subjects, job.batch_size, watch):
        item = by_path[subject.source]  # pyright: ignore[reportArgumentType]  paths were given
        if subject.work is None:
            yield item, subject.fault or ""
            continue
        pixels = subject.work.canvas.mask.size
        finishing.append((item, pixels, pool.submit(finish, item, subject, job)))
        while len(finishing) > 2 * job.threads or sum(pixels for _, pixels, _ in finishing) > LARGE:
            item, _, future = finishing.popleft()
            yield item, future.result()
    for item, _, future in finishing:
        yield item, future.result()


def filmed(items: Sequence[Item], job: Job, pool: Executor, bar: tqdm) -> Iterator[tuple[Item, dict[str, Any] | str]]:
    """Each video's record once it is written, or its fault."""
    for item in items:
        try:
            yield item, predict_video(item, job, pool, bar)
        except InputError as error:
            yield item, str(error)
        except OSError as error:
            yield item, fault_of_name(item, error)


def finish(item: Item, subject: Subject, job: Job) -> dict[str, Any] | str:
    assert subject.work is not None, "it was read"
    try:
        return write_outputs(item, subject.work.finish(), job)
    except InputError as error:
        return str(error)
    except OSError as error:
        return fault_of_name(item, error)


def fault_of_name(item: Item, error: OSError) -> str:
    """Raises the error again where it is of another kind: then nothing can be written."""
    if error.errno not in NAMING:
        raise error
    return f"{item.path}: its outputs can't be written: {error}."


def tell(done: Done, job: Job, ids: Ids, seconds: float) -> None:
    images = f"{done.predicted} file{'s'[: done.predicted != 1]}"
    speed = f" in {seconds:.1f} s, {done.predicted / seconds:.1f} a second" if done.predicted else ""
    print(f"{images} predicted{speed}; {', '.join(job.save)} in {job.out}/")
    if done.before:
        print(f"{done.before} were there already.")
    if "results" in job.save and ids.unknown:
        print(f"{ids.unknown} are not in the JSON given, so results.json leaves them out.")
    if done.faults:
        print(f"{len(done.faults)} could not be read, and were skipped.", file=sys.stderr)
