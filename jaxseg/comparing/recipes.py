"""Runs of one recipe with different seeds, taken together."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np

from jaxseg.comparing.entry import Entry, is_finite
from jaxseg.config import CLASSES, MAY_CHANGE, to_json

PLACES = (
    "data.root", "data.train_json", "data.train_images", "data.val_json", "data.val_images", "data.test_json",
    "data.test_images",
)  # fmt: skip
"""Where the data lie: of no account where they are the same."""
UNTOLD = tuple(name for name in MAY_CHANGE if name not in ("epochs", "guard"))
"""Settings that change no number of a run."""
DEFAULTS = {known.__name__: to_json(known()) for known in CLASSES}
TRAINED = ("val_loss", "val_iou", "val_dice")
"""Of an epoch, what is compared."""


class Spread(NamedTuple):
    """A number over the runs of a recipe.

    Attributes:
        mean: over the runs that have the number.
        deviation: the standard deviation between runs (n - 1); None of a single one.
        runs: how many have it.
    """

    mean: float
    deviation: float | None
    runs: int


@dataclass(frozen=True)
class Recipe:
    """Runs that differ in their seed alone.

    Attributes:
        name: a run's, or what the names of the runs begin with.
        runs: finished ones; or a single one that is not.
        settings: in which recipes may differ, by dotted name.
    """

    name: str
    runs: tuple[Entry, ...]
    settings: dict[str, Any]

    @property
    def first(self) -> Entry:
        """Of its runs."""
        return self.runs[0]

    @cached_property
    def numbers(self) -> dict[str, Spread]:
        """The best epoch, its loss and scores, the time, and each score of each split's evaluation (`test/iou`)."""
        found: dict[str, list[float]] = {}
        for run in self.runs:
            best = run.best or {}
            values = {"best_epoch": best.get("epoch"), **{name: best.get(name) for name in TRAINED}}
            values["seconds"] = run.seconds
            for split, evaluation in run.scored.items():
                values |= {f"{split}/{name}": score.value for name, score in evaluation.scores.items()}
            for name, value in values.items():
                if is_finite(value):
                    found.setdefault(name, []).append(float(value or 0))
        return {name: spread(values) for name, values in found.items()}


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation."""
    several = len(values) > 1
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)) if several else None, len(values))


def by_recipe(entries: Sequence[Entry]) -> list[Recipe]:
    """The recipes, in the order in which their first runs come; an unfinished run stands alone."""
    same_data = len({json.dumps(entry.annotations, sort_keys=True) for entry in entries}) == 1
    groups: dict[str, list[Entry]] = {}
    settings = {}
    for entry in entries:
        found = flat(entry.config, PLACES if same_data else ())
        key = json.dumps([found, entry.annotations, None if entry.finished else entry.name], sort_keys=True)
        groups.setdefault(key, []).append(entry)
        settings[key] = found
    names = distinct([common_name([entry.name for entry in runs]) for runs in groups.values()])
    return [Recipe(name, tuple(runs), settings[key]) for name, (key, runs) in zip(names, groups.items(), strict=True)]


def flat(value: Any, left_out: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted name, without those of no account and the seed."""
    if prefix in (*UNTOLD, *left_out, "seed"):
        return {}
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for name, setting in value.items():
        found |= flat(setting, left_out, f"{prefix}.{name}" if prefix else name)
    return found


def common_name(names: Sequence[str]) -> str:
    """What the names begin with, without a seed's number."""
    if len(names) == 1:
        return names[0]
    together = "".join(letters[0] for letters in takewhile(lambda row: len(set(row)) == 1, zip(*names, strict=False)))
    if any(name[len(together) : len(together) + 1].isdigit() for name in names):
        together = together.rstrip("0123456789")  # of best-10 and best-11: the 1 is the seed's
    return re.sub(r"([-_. /]|seed)*$", "", together) or f"{names[0]} ..."


def distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number after those that came before."""
    found: list[str] = []
    for name in names:
        number = sum(name == other for other in names[: len(found)])
        found.append(f"{name} ({number + 1})" if number else name)
    return found


def differing(recipes: Sequence[Recipe]) -> dict[str, list[str]]:
    """Settings in which recipes differ: dotted name to what each recipe has, as text.

    Where the class of a part differs (`loss.class`), the settings of that part are written into one.
    """
    names = list(dict.fromkeys(name for recipe in recipes for name in recipe.settings))
    parts = [
        name.removesuffix(".class")
        for name in names
        if name.endswith(".class") and len({recipe.settings.get(name) for recipe in recipes}) > 1
    ]
    found: dict[str, list[str]] = {}
    for name in names:
        part = next((part for part in parts if name.startswith(f"{part}.")), None)
        values = [written(recipe.settings, part) if part else told(recipe.settings.get(name)) for recipe in recipes]
        if len(set(values)) > 1:
            found[part or name] = values
    return found


def written(settings: dict[str, Any], part: str) -> str:
    """A part of the settings, which may have parts of its own, as its constructor's call."""
    inside: dict[str, Any] = {}
    for name, value in settings.items():
        if name.startswith(f"{part}."):
            *above, last = name.removeprefix(f"{part}.").split(".")
            place = inside
            for key in above:
                place = place.setdefault(key, {})
            place[last] = value
    return told(inside or None)


def told(value: Any) -> str:
    """A setting as text: an object as its constructor's call without defaults, a missing one as a dash."""
    if isinstance(value, dict):
        usual = DEFAULTS.get(value.get("class", ""), {})
        given = {name: v for name, v in value.items() if name != "class" and (v != usual.get(name) or has_objects(v))}
        return f"{value.get('class', '')}({', '.join(f'{name}={told(v)}' for name, v in given.items())})"
    if isinstance(value, list):
        return (", " if has_objects(value) else " ").join(map(told, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else "-" if value is None else str(value)


def has_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


def doubts(recipes: Sequence[Recipe]) -> Iterator[str]:
    """Why numbers that stand side by side may not be comparable."""
    first = recipes[0]
    for recipe in recipes:
        for run in recipe.runs:
            if run.progress:
                yield f"{run.name} is {run.progress}."
            yield from (f"{run.name}: {text}." for text in run.doubts)
        for split in sorted({split for run in recipe.runs for split in run.scored}):
            evaluated = sum(split in run.scored for run in recipe.runs)
            if evaluated < len(recipe.runs):
                yield f"{recipe.name}: {evaluated} of its {len(recipe.runs)} runs evaluated on {split}."
        seeds = [run.config.get("seed") for run in recipe.runs]
        if len(set(seeds)) < len(seeds):
            yield f"{recipe.name}: runs of the same seed ({told(seeds)}); their spread is not that of a training."
    for recipe in recipes[1:]:
        ours, theirs = recipe.first, first.first
        if None not in (ours.classes, theirs.classes) and ours.classes != theirs.classes:
            yield f"{recipe.name} knows other classes than {first.name}: {listed(ours)}, not {listed(theirs)}."
        if ours.annotations.get("val") != theirs.annotations.get("val"):
            yield f"{recipe.name} was validated on another file than {first.name}: compare by evaluate's scores."
        for split in sorted(set(ours.scored) & set(theirs.scored)):
            if set(ours.scored[split].counts) != set(theirs.scored[split].counts):
                yield f"{recipe.name} was evaluated on other {split} images than {first.name}."
    different = differing(recipes)
    if any(name.split(".")[0] == "loss" for name in different):
        yield "The losses are different ones: their values are not comparable, IoU and Dice are."
    if {"data.height", "data.width", "data.resize"} & set(different):
        yield "The sizes differ, and training scores at the network's own: evaluate scores at the pictures' size."


def listed(run: Entry) -> str:
    names = (run.classes or ())[1:]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
