"""The result of comparing runs, which shows itself as a table."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from jaxseg import page
from jaxseg.check.terminal import aligned
from jaxseg.comparing.curves import curves
from jaxseg.comparing.entry import SCORES, Entry
from jaxseg.comparing.paired import difference
from jaxseg.comparing.recipes import Recipe, Spread, by_recipe, differing, doubts
from jaxseg.dry_run import duration
from jaxseg.page import Html
from jaxseg.scores.evaluation import without_nan
from jaxseg.scores.scoreboard import Interval

WIDTH = 110
TITLES = {
    "best_epoch": "best epoch",
    "val_loss": "val loss",
    "val_iou": "val IoU",
    "val_dice": "val Dice",
    "seconds": "training",
    "iou": "IoU",
    "dice": "Dice",
    "boundary_iou": "boundary IoU",
    "class_iou": "IoU of classes",
}


class Table(NamedTuple):
    """Headings, and rows of as many texts."""

    headings: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs side by side; `print` and a notebook show them as tables.

    Attributes:
        recipes: runs that differ in their seed alone, together.
        unread: why other folders could not be read.
    """

    recipes: tuple[Recipe, ...]
    unread: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[Entry, ...]:
        """All of them."""
        return tuple(run for recipe in self.recipes for run in recipe.runs)

    @property
    def splits(self) -> list[str]:
        """On which any run was evaluated."""
        return sorted({split for run in self.runs for split in run.scored})

    @cached_property
    def settings(self) -> dict[str, list[str]]:
        """Those that differ: dotted name to each recipe's."""
        return differing(self.recipes)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What can't be compared, and what could not be read."""
        return (*self.unread, *doubts(self.recipes))

    @cached_property
    def training(self) -> Table:
        """What training measured at each recipe's best epoch."""
        names = ("best_epoch", "val_loss", "val_iou", "val_dice", "seconds")
        rows = [
            [marked(recipe), str(len(recipe.runs)), *(shown(name, recipe.numbers.get(name)) for name in names)]
            for recipe in self.recipes
        ]
        return Table(["recipe", "runs", *(TITLES[name] for name in names)], rows)

    def evaluated(self, split: str) -> Table:
        """What `evaluate` found on a split, and how the IoU differs from the first recipe's."""
        names = [name for name in SCORES if any(f"{split}/{name}" in recipe.numbers for recipe in self.recipes)]
        rows = []
        for recipe in self.recipes:
            if any(split in run.scored for run in recipe.runs):
                scores = [score(recipe, split, name) for name in names]
                rows.append([recipe.name, *scores, against(self.gains(split)[recipe.name])])
        against_first = f"IoU against {self.recipes[0].name}"
        return Table(["recipe", *(TITLES[name] for name in names), against_first], rows)

    def gains(self, split: str) -> dict[str, Interval | None]:
        """By recipe: its IoU less the first recipe's, on the same images."""
        first, *others = self.recipes
        return {first.name: None} | {recipe.name: difference(recipe, first, split) for recipe in others}

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON holds it; what is not a number is null."""
        recipes = []
        for place, recipe in enumerate(self.recipes):
            gains = {split: self.gains(split)[recipe.name] for split in self.splits}
            recipes.append(
                {
                    "name": recipe.name,
                    "settings": {name: values[place] for name, values in self.settings.items()},
                    "numbers": {name: spread._asdict() for name, spread in recipe.numbers.items()},
                    "iou_against_first": {split: gain._asdict() for split, gain in gains.items() if gain},
                    "runs": [run_json(run) for run in recipe.runs],
                }
            )
        return without_nan({"recipes": recipes, "warnings": list(self.warnings)})

    def __repr__(self) -> str:
        return f"Comparison({', '.join(recipe.name for recipe in self.recipes)})"

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        yield from aligned([self.training.headings, *self.training.rows])
        for split in self.splits:
            table = self.evaluated(split)
            yield f"Evaluated on {split}, with 95 % intervals, or mean ± standard deviation of several runs:"
            yield from aligned([table.headings, *table.rows])
        if self.settings:
            yield "Settings that differ:"
            for place, recipe in enumerate(self.recipes):
                told = "; ".join(f"{name} {values[place]}" for name, values in self.settings.items())
                yield from textwrap.wrap(f"{recipe.name}: {told}", WIDTH, initial_indent="  ", subsequent_indent="    ")
        for text in self.warnings:
            yield f"warning: {text}"

    def _repr_html_(self) -> str:
        notice = [page.notice("Look at this first", self.warnings)] if self.warnings else []
        return page.inline(*notice, *self.tables(), page.plot(curves(self.recipes)))

    def tables(self) -> Iterator[Html]:
        """As sections of a page."""
        yield page.section("Training, at the epoch of the lowest validation loss", page.table(*self.training))
        for split in self.splits:
            note = (
                "One run: its 95 % interval over the images. Several: mean ± standard deviation between them. "
                "The last column compares on the same images, drawn together: an interval without 0 is a difference."
            )
            table = page.table(*self.evaluated(split))
            yield page.section(f"Evaluated on {split}", table, page.paragraph(note, faint=True))
        if self.settings:
            rows = [
                [recipe.name, *(values[place] for values in self.settings.values())]
                for place, recipe in enumerate(self.recipes)
            ]
            table = page.table(["recipe", *self.settings], rows, text_columns=1 + len(self.settings))
            yield page.section("Settings that differ", table)


def compared(entries: Sequence[Entry], unread: Sequence[str] = ()) -> Comparison:
    """The comparison of these runs."""
    return Comparison(tuple(by_recipe(entries)), tuple(unread))


def marked(recipe: Recipe) -> str:
    return recipe.name if recipe.first.finished else f"{recipe.name} (unfinished)"


def shown(name: str, spread: Spread | None) -> str:
    """A number, with its standard deviation over several runs."""
    if spread is None:
        return "–"
    if name == "seconds":
        return duration(spread.mean)
    if name == "best_epoch":
        return f"{spread.mean:.3g}"
    number, deviation = (f"{spread.mean:.4f}", "{:.4f}") if name == "val_loss" else (f"{spread.mean:.3f}", "{:.3f}")
    return number if spread.deviation is None else f"{number} ± {deviation.format(spread.deviation)}"


def score(recipe: Recipe, split: str, name: str) -> str:
    """A score of one run with its interval, or of several with their deviation."""
    spread = recipe.numbers.get(f"{split}/{name}")
    if spread is None or spread.runs > 1:
        return shown(name, spread)
    found = next(run.scored[split].scores[name] for run in recipe.runs if split in run.scored)
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def against(gain: Interval | None) -> str:
    return "–" if gain is None else f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"


def run_json(run: Entry) -> dict[str, Any]:
    best = run.best
    return {
        "name": run.name,
        "path": str(run.path),
        "seed": run.config.get("seed"),
        "finished": run.finished,
        "epochs": len(run.history),
        "best": best,
        "seconds": run.seconds,
        "classes": run.classes,
        "evaluations": {
            split: {name: interval._asdict() for name, interval in scored.scores.items()}
            for split, scored in run.scored.items()
        },
        "history": list(run.history),
    }
