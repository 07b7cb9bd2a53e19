"""All that a finished run leaves and that no clock made, to compare runs by."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jaxseg.checkpoint import Checkpoints
from jaxseg.config import from_json
from jaxseg.loop import abstract_state, compile_steps
from jaxseg.run import RunFolder, read_lines
from jaxseg.sharding import data_parallel


def trace(folder: Path, batches: Path) -> dict[str, Any]:
    """By name; `batches` is the file of what each step was given."""
    return files(folder) | curves(folder) | states(folder) | given(batches)


def files(folder: Path) -> dict[str, Any]:
    """Their bytes, those of hidden ones too; config.json may differ, in what may change."""
    clocked = [RunFolder(folder).config, RunFolder(folder).timings, *folder.glob("*tfevents*")]
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path not in clocked}


def curves(folder: Path) -> dict[str, Any]:
    """What TensorBoard shows, steps and values, and what timings.jsonl holds; of a clock's values the steps."""
    timings = read_lines(RunFolder(folder).timings)
    clocked = {name for record in timings for name in record}
    events = EventAccumulator(str(folder), {"scalars": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    found: dict[str, Any] = {"timings": [record["step"] for record in timings]}
    for tag in tags["scalars"]:
        found[f"curve {tag}"] = [(event.step, None if tag in clocked else event.value) for event in events.Scalars(tag)]
    for tag in tags["images"]:
        found[f"image {tag}"] = [(event.step, event.encoded_image_string) for event in events.Images(tag)]
    return found


def states(folder: Path) -> dict[str, Any]:
    """The arrays of the last and the best checkpoint, the last one's progress, and what lies beside them."""
    run = RunFolder(folder)
    settings = from_json(json.loads(run.config.read_text())["config"])
    like = abstract_state(compile_steps(settings, data_parallel(settings.batch_size)))
    found: dict[str, Any] = {
        "beside the checkpoints": [path.name for path in run.checkpoints.iterdir() if not path.name.isdecimal()]
    }
    with Checkpoints(run.checkpoints) as checkpoints:
        last, progress = checkpoints.newest(like) or (None, None)
        assert progress
        best = checkpoints.best(progress.best_step, like)
    running = {name: value for name, value in progress.running.items() if name != "logs"}
    found["progress"] = progress._replace(running=running)
    for name, state in (("last", last), ("best", best)):
        for path, leaf in jax.tree.flatten_with_path(state)[0]:
            found[f"{name} {jax.tree_util.keystr(path)}"] = np.asarray(leaf).tobytes()
    return found


def given(batches: Path) -> dict[str, Any]:
    """The image ids and the content of each step's batch. What is done again must be given the same again."""
    used: dict[int, Any] = {}
    differing = []
    for line in batches.read_text().splitlines():
        step, *batch = json.loads(line)
        if used.setdefault(step, batch) != batch:
            differing.append(step)
    return {"batches": used, "steps that were given two batches": differing}
