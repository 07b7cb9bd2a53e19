"""Curves of an evaluation: precision and recall, thresholds, calibration, the spread over images."""

from typing import Literal

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxseg.plots import BLUE, FAINT, GREEN, GREY, INK, ORANGE, text_style
from jaxseg.scores.calibration import BINS, Calibration
from jaxseg.scores.sweep import Best, Sweep

SIZE = (5.2, 3.9)


def precision_recall(found: Sweep, area: float, threshold: float | None) -> Figure:
    """Precision by recall, with the place of a threshold, if there is one, and of calling all pixels foreground."""
    figure, axes = _axes("recall", "precision")
    overlap = found.overlap
    axes.plot(overlap.recall, overlap.precision, color=BLUE, lw=1.8, label=f"area {area:.3f}")
    if found.pixels:
        axes.axhline(overlap.truth[0] / found.pixels, color=GREY, lw=1, ls=":", label="share of true foreground")
    if threshold is not None:
        place = int(np.abs(found.thresholds - threshold).argmin())
        point = float(overlap.recall[place]), float(overlap.precision[place])
        axes.plot(*point, "o", color=ORANGE, ms=7, label=f"threshold {threshold:.4g}")
    _legend(axes, "lower left")
    return figure


def thresholds(found: Sweep, threshold: float, best: Best | None) -> Figure:
    """The scores against the threshold."""
    figure, axes = _axes("threshold", "score")
    overlap = found.overlap
    rows = ((overlap.iou, "IoU", BLUE), (overlap.precision, "precision", ORANGE), (overlap.recall, "recall", GREEN))
    for values, name, colour in rows:
        axes.plot(found.thresholds, values, color=colour, lw=1.8, label=name)
    axes.axvline(threshold, color=INK, lw=1, ls="--", label=f"used: {threshold:.4g}")
    if best is not None:
        axes.plot(best.threshold, best.iou, "o", color=BLUE, ms=7, label=f"best: {best.threshold:.4g}")
    _legend(axes, "lower left")
    return figure


def reliability(found: Calibration) -> Figure:
    """How often it came true against the probability stated, and below, how many pixels each bin holds."""
    figure = Figure(figsize=SIZE, facecolor="white", layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _dress(axes, "", "how often it came true")
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="perfectly calibrated")
    axes.plot(found.probability, found.frequency, "o-", color=BLUE, ms=4, lw=1.8, label=f"error {found.error:.3f}")
    _legend(axes, "upper left")
    _dress(below, "probability that the model stated", "pixels")
    below.set_ylim(auto=True)
    below.set_yscale("log")
    below.bar((np.arange(BINS) + 0.5) / BINS, np.maximum(found.pixels, 0.5), 0.9 / BINS, color=BLUE, alpha=0.6)
    below.set_ylim(bottom=1)
    return figure


def spread(iou: Float[np.ndarray, " images"]) -> Figure:
    """How many images have which IoU."""
    figure, axes = _axes("IoU of an image", "images")
    axes.set_ylim(auto=True)
    axes.hist(iou, np.linspace(0, 1, 21).tolist(), color=BLUE, alpha=0.75, edgecolor="white")
    if len(iou):
        axes.axvline(float(np.mean(iou)), color=ORANGE, lw=1.4, label=f"mean {np.mean(iou):.3f}")
        axes.axvline(float(np.median(iou)), color=INK, lw=1, ls="--", label=f"median {np.median(iou):.3f}")
        _legend(axes, "upper left")
    return figure


def _axes(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, facecolor="white", layout="constrained")
    axes = figure.subplots()
    _dress(axes, across, up)
    return figure, axes


def _dress(axes: Axes, across: str, up: str) -> None:
    axes.grid(color="#E4E4E4", lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(across, fontsize=10, **text_style())
    axes.set_ylabel(up, fontsize=10, **text_style())
    axes.tick_params(labelsize=9, colors=FAINT)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(axes: Axes, place: Literal["lower left", "upper left"]) -> None:
    axes.legend(loc=place, fontsize=9, frameon=True, framealpha=0.85, edgecolor="none", labelcolor=INK)
