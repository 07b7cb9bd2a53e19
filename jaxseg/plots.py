"""Curves of a training run as a figure file: PNG, PDF or SVG, by the ending of its path."""

import io
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.ticker import MaxNLocator

DPI = 256  # a power of two: a whole number of pixels is exact in inches
INK, FAINT = "#222222", "#666666"
BLUE, ORANGE, GREEN, GREY = "#2F78D4", "#E0701A", "#159A74", "#8A8A8A"
CURVES = {  # key of a record: panel, label, colour, line
    "train_loss": (0, "training", BLUE, "-"),
    "val_loss": (0, "validation", ORANGE, "-"),
    "train_iou": (1, "training IoU", BLUE, "-"),
    "val_iou": (1, "validation IoU", ORANGE, "-"),
    "val_dice": (1, "validation Dice", GREEN, "-"),
    "val_predicted_share": (1, "share predicted foreground", GREY, "--"),
    "val_true_share": (1, "share truly foreground", GREY, ":"),
}


def save_loss_curves(path: str | Path, history: Sequence[Mapping[str, float | int | None]]) -> None:
    """Losses on the left with the lowest validation loss marked, validation scores on the right, against the epoch.

    `history` holds the records of `metrics.jsonl`: those without an `epoch` are passed over, and of several of one
    epoch the later wins, key by key. A key that is missing or None was not measured: its line goes on to the next
    value. NaN and infinity break the line and are marked by a cross. Losses that span more than a factor of 30 get
    a logarithmic axis.
    """
    epochs: dict[float, dict[str, float | int | None]] = {}
    for record in history:
        if (epoch := record.get("epoch")) is not None:
            epochs.setdefault(float(epoch), {}).update(record)
    if not epochs:
        raise ValueError(f"none of the {len(history)} records of history has an epoch: there is nothing to plot")
    figure = Figure(figsize=(10, 3.8), dpi=DPI, facecolor="white", layout="constrained")
    panels = figure.subplots(1, 2)
    for key, (panel, label, colour, line) in CURVES.items():
        points = [(epoch, float(value)) for epoch in sorted(epochs) if (value := epochs[epoch].get(key)) is not None]
        if points:
            _curve(panels[panel], points, label, colour, line)
    for axes, name in zip(panels, ("loss", "score"), strict=True):
        _dress(axes, name, list(epochs))
    write_figure(path, figure)


def write_figure(path: str | Path, figure: Figure) -> None:
    """The figure as a file, whole or not at all; missing folders are made."""
    path = Path(path)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:] or "png", dpi=figure.dpi, facecolor="white")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        temporary.write_bytes(drawn.getvalue())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def text_style(colour: str = INK) -> dict[str, Any]:
    """Text drawn as it stands, whatever the reader's matplotlibrc: a `$` in a class name starts no formula."""
    return {"color": colour, "family": _families(), "usetex": False, "parse_math": False}


@cache
def _families() -> list[str]:
    """matplotlib's own font, then whatever this machine has for Chinese, Japanese and Korean."""
    wide = ("CJK", "YaHei", "PingFang", "Hiragino Sans", "Yu Gothic", "Malgun", "WenQuanYi")
    return ["DejaVu Sans", *(name for name in sorted(get_font_names()) if any(word in name for word in wide))]


def _curve(axes: Axes, points: Sequence[tuple[float, float]], label: str, colour: str, line: str) -> None:
    x, y = np.array(points).T
    finite = np.isfinite(y)
    marker = "o" if len(x) <= 30 and colour != GREY else ""
    width = 1.8 if len(x) <= 100 and colour != GREY else 1.2
    axes.plot(x, np.where(finite, y, np.nan), line + marker, color=colour, lw=width, ms=4, label=label)
    if not finite.all():
        at_top = {"transform": axes.get_xaxis_transform(), "label": f"{label}: not finite"}
        axes.plot(x[~finite], np.full(np.sum(~finite), 0.97), "x", color=colour, **at_top)
    if label == "validation" and finite.any():
        best = np.where(finite, y, np.inf).argmin()
        note = f"lowest validation loss: {y[best]:.4g}, epoch {x[best]:g}"
        axes.axvline(x[best], color=colour, lw=0.8, ls=":")
        axes.plot(x[best], y[best], "o", ms=9, mfc="none", mec=colour, mew=1.4, label=note)


def _dress(axes: Axes, name: str, epochs: Sequence[float]) -> None:
    """Scale, labels, ticks and legend of one panel."""
    curves = [np.asarray(line.get_ydata(), float) for line in axes.lines if line.get_transform() == axes.transData]
    values = np.concatenate([np.empty(0), *curves])
    values = values[np.isfinite(values)]
    axes.grid(color="#E4E4E4", lw=0.6)
    if not len(values):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", fontsize=9, **text_style(FAINT))
    elif name == "score":
        axes.set_ylim(0, min(1.0, 1.15 * max(values.max(), 0.01)))
    elif values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        name = "loss (logarithmic)"
    margin = 0.03 * (max(epochs) - min(epochs)) or 0.5
    axes.set_xlim(min(epochs) - margin, max(epochs) + margin)
    label_epochs(axes, name)
    if axes.lines:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncols=2, fontsize=8, frameon=False, labelcolor=INK)


def label_epochs(axes: Axes, name: str) -> None:
    """A plot of `name` by epoch: the frame around its curves."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch", fontsize=9, **text_style())
    axes.set_ylabel(name, fontsize=9, **text_style())
    axes.tick_params(labelsize=8, colors=INK)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
