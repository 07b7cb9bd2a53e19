"""One run, as its folder tells of it."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jaxseg.config import from_json, to_json
from jaxseg.errors import InputError
from jaxseg.run import RunFolder, read_lines
from jaxseg.scores.scoreboard import Interval

SCORES = ("iou", "dice", "boundary_iou", "class_iou")
"""Of an evaluation, those that are compared."""


class Scored(NamedTuple):
    """An evaluation of a run's best weights at the original size.

    Attributes:
        scores: with their 95 % intervals over the images.
        counts: by image id, foreground pixels: true positives, false positives, false negatives.
        annotations: the file that was scored on.
    """

    scores: dict[str, Interval]
    counts: dict[int, tuple[int, int, int]]
    annotations: str


@dataclass(frozen=True)
class Entry:
    """A run.

    Attributes:
        name: by which it is told from the others.
        path: its folder.
        config: its settings as JSON.
        annotations: digests of its annotation files by split.
        classes: names, the background first; None before the run has written them.
        history: a record for each epoch, as metrics.jsonl holds it.
        seconds: spent in training steps, without validation; None where no epoch was timed.
        finished: whether it came to its end.
        scored: its newest evaluation on each split.
        doubts: what is odd about it.
    """

    name: str
    path: Path
    config: dict[str, Any]
    annotations: dict[str, str]
    classes: tuple[str, ...] | None
    history: tuple[dict[str, Any], ...]
    seconds: float | None
    finished: bool
    scored: dict[str, Scored]
    doubts: tuple[str, ...]

    @property
    def best(self) -> dict[str, Any] | None:
        """The record of the epoch whose weights are the best: the lowest validation loss, the later of equal ones."""
        known = [record for record in self.history if is_finite(record.get("val_loss"))]
        return min(reversed(known), key=lambda record: record["val_loss"]) if known else None

    @property
    def progress(self) -> str:
        """How far it came, where that is not its end."""
        return "" if self.finished else f"unfinished: {len(self.history)} of {self.config.get('epochs', '?')} epochs"


def is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def read_entry(folder: RunFolder, name: str) -> Entry:
    """Read a run's folder; an evaluation or a log that can't be read is a doubt.

    Raises:
        InputError: if there is no run, or its settings can't be read.
    """
    if not folder.config.is_file():
        raise InputError(f"{folder.path} is no run: it has no {folder.config.name}.")
    content = read_object(folder.config)
    doubts: list[str] = []
    config = content.get("config")
    if not isinstance(config, dict):
        raise InputError(f"{folder.config} holds no settings of a run.")
    try:
        config = to_json(from_json(config))  # settings that came later have their defaults
    except (InputError, TypeError, AttributeError) as error:
        doubts.append(f"its settings are of another version of jaxseg: {error}")
    history: dict[int, dict[str, Any]] = {}
    for record in lines_of(folder.metrics, doubts):
        if record.get("epoch") is not None and "val_loss" in record:
            history[record["epoch"]] = record
    timed = lines_of(folder.timings, doubts)
    seconds = [record["epoch_seconds"] for record in timed if is_finite(record.get("epoch_seconds"))]
    described = read_object(folder.model) if folder.model.is_file() else {}
    finished = bool(history) and described.get("epochs") == max(history)
    if not history:
        doubts.append("no epoch of it is recorded")
    return Entry(
        name,
        folder.path,
        config,
        content.get("annotations") or {},
        tuple(described["classes"]) if "classes" in described else None,
        tuple(history[epoch] for epoch in sorted(history)),
        sum(seconds) if seconds else None,
        finished,
        evaluations(folder, described.get("epochs"), doubts),
        tuple(doubts),
    )


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: if it holds none.
    """
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise InputError(f"{path} can't be read: {error}.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(content).__name__}.")
    return content


def lines_of(path: Path, doubts: list[str]) -> list[dict[str, Any]]:
    try:
        return [record for record in read_lines(path) if isinstance(record, dict)]
    except (ValueError, OSError) as error:
        doubts.append(f"{path.name} can't be read: {error}")
        return []


def evaluations(folder: RunFolder, epochs: int | None, doubts: list[str]) -> dict[str, Scored]:
    """The newest one on each split, of the best weights at the original size."""
    found: dict[str, Scored] = {}
    paths = sorted(folder.evaluation.glob("*/scores.json"), key=lambda path: (path.stat().st_mtime, path))
    for path in paths:
        try:
            content = read_object(path)
            if content["at"] != "original" or content.get("checkpoint", "best") != "best":
                continue
            found[content["split"]] = scored(content)
        except (InputError, KeyError, TypeError, ValueError) as error:
            doubts.append(f"{path} is no evaluation of this version: {error}")
            continue
        if content.get("epochs") not in (None, epochs):
            doubts.append(f"its {content['split']} scores are of {content['epochs']} epochs, when it had no more")
    return found


def scored(content: dict[str, Any]) -> Scored:
    """An evaluation's scores.json."""
    kept = SCORES if len(content["classes"]) > 2 else SCORES[:3]
    scores = {name: interval(content["scores"][name]) for name in kept}
    counts = {
        int(image["id"]): (image["true_positives"], image["false_positives"], image["false_negatives"])
        for image in content["per_image"]
    }
    return Scored(scores, counts, str(content["annotations"]))


def interval(content: dict[str, float | None]) -> Interval:
    """An interval whose ends may be null."""
    ends = [content[end] for end in Interval._fields]
    return Interval(*(math.nan if end is None else float(end) for end in ends))
