"""Validation loss and scores of several recipes in one figure."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxseg.comparing.entry import is_finite
from jaxseg.comparing.recipes import Recipe
from jaxseg.plots import DPI, FAINT, INK, label_epochs, text_style

LINES = ("-", "--", ":", "-.")
PANELS = (("val_loss", "validation loss"), ("val_iou", "validation IoU"))


def curves(recipes: Sequence[Recipe]) -> Figure:
    """By epoch: the mean over a recipe's runs as a line, lowest to highest as a band, the best epoch as a dot."""
    rows = -(-len(recipes) // 3)
    figure = Figure(figsize=(10, 3.8 + 0.22 * rows), dpi=DPI, facecolor="white", layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, (key, name) in zip(panels, PANELS, strict=True):
        for place, recipe in enumerate(recipes):
            draw(axes, recipe, key, place)
        dress(axes, name)
    lines = panels[0].get_lines()
    handles = [line for line in lines if not line.get_label().startswith("_")]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower left", ncols=3, fontsize=8, frameon=False, labelcolor=INK,
            prop={"family": text_style()["family"], "size": 8},
        )  # fmt: skip
        for text in figure.legends[0].get_texts():
            text.set_parse_math(False)
    return figure


def draw(axes: Axes, recipe: Recipe, key: str, place: int) -> None:
    epochs, values = by_epoch(recipe, key)
    colour = colormaps["tab10"](place % 10)
    line: Literal["-"] | str = LINES[place // 10 % len(LINES)]
    known = ~np.isnan(values).all(axis=0)
    epochs, values = epochs[known], values[:, known]
    marker = "o" if len(epochs) == 1 else ""
    mean = np.nanmean(values, axis=0) if len(epochs) else np.empty(0)
    name = f"{recipe.name}, {len(values)} runs" if len(values) > 1 else recipe.name
    axes.plot(epochs, mean, line, marker=marker, ms=3, color=colour, lw=1.5, label=name.replace("\n", " "))
    if len(values) > 1 and len(epochs):
        axes.fill_between(epochs, np.nanmin(values, 0), np.nanmax(values, 0), color=colour, alpha=0.18, lw=0)
    for run in recipe.runs:
        if run.best and is_finite(run.best.get(key)):
            axes.plot(run.best["epoch"], run.best[key], "o", ms=5, mfc="white", mec=colour, mew=1.2)


def by_epoch(recipe: Recipe, key: str) -> tuple[Float[np.ndarray, " epochs"], Float[np.ndarray, "runs epochs"]]:
    """The epochs that any of the runs recorded, and each run's values there; NaN where it has none."""
    epochs = sorted({record["epoch"] for run in recipe.runs for record in run.history})
    values = np.full((len(recipe.runs), len(epochs)), np.nan)
    for row, run in zip(values, recipe.runs, strict=True):
        for record in run.history:
            if is_finite(record.get(key)):
                row[epochs.index(record["epoch"])] = record[key]
    return np.array(epochs, float), values


def dress(axes: Axes, name: str) -> None:
    drawn = [np.asarray(line.get_ydata(), float) for line in axes.get_lines()]
    values = np.concatenate([np.empty(0), *drawn])
    axes.grid(color="#E4E4E4", lw=0.6)
    if not len(values):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", fontsize=9, **text_style(FAINT))
    elif name.endswith("loss") and values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
        name += " (logarithmic)"
    label_epochs(axes, name)
