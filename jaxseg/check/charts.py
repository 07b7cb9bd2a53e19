"""Plots of a data set: its classes, the sizes of its objects and of its images."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from jaxseg.check.findings import plain
from jaxseg.check.statistics import SIDES, Statistics, by_pixels
from jaxseg.plots import BLUE, FAINT, GREEN, INK, ORANGE, text_style

CLASSES = 24  # bars
COLOURS = (BLUE, ORANGE, GREEN)

Splits = Mapping[str, Statistics]


def classes_chart(splits: Splits) -> Figure:
    """Each class's share of the pixels and its images, the most frequent above; a bar a split."""
    labels = by_pixels(splits)[:CLASSES]
    names = next(iter(splits.values())).classes
    figure = Figure(figsize=(10, 1.1 + 0.3 * len(labels)), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    rows, height = np.arange(len(labels)), 0.8 / len(splits)
    for place, ((split, of), colour) in enumerate(zip(splits.items(), colours(splits), strict=True)):
        at = rows + (place - (len(splits) - 1) / 2) * height
        shares = [100 * (of.share(label) or 0) for label in labels]
        left.barh(at, shares, 0.9 * height, color=colour, label=split)
        right.barh(at, of.images_of[labels], 0.9 * height, color=colour, label=split)
    left.set_yticks(rows, [plain(names[label], 24) for label in labels], fontsize=8, **text_style())
    left.set_ylim(len(labels) - 0.4, -0.6)
    dress(left, "% of the pixels that count")
    dress(right, "images with it")
    return figure


def sizes_chart(splits: Splits) -> Figure:
    """How many objects are of which size, beside the widths and heights of the images."""
    figure = Figure(figsize=(10, 3.2), facecolor="white", layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_objects(left, splits)
    draw_images(right, splits)
    return figure


def draw_objects(axes: Axes, splits: Splits) -> None:
    used = np.flatnonzero(np.sum([of.sides for of in splits.values()], axis=0))
    low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
    width = 0.8 / len(splits)
    for place, ((split, of), colour) in enumerate(zip(splits.items(), colours(splits), strict=True)):
        at = np.arange(low, high) + (place - (len(splits) - 1) / 2) * width
        axes.bar(at, 100 * of.sides[low:high] / max(1, of.sides.sum()), 0.9 * width, color=colour, label=split)
    axes.set_xticks(np.arange(low, high) - 0.5, [str(side) for side in SIDES[low:high]])
    for bound in (32, 96):
        axes.axvline(np.log2(bound) - 0.5, color=FAINT, lw=0.9, ls=":")
    dress(axes, "square root of an object's area, pixels")
    axes.set_ylabel("% of the objects", fontsize=9, **text_style())


def draw_images(axes: Axes, splits: Splits) -> None:
    for (split, of), colour in zip(splits.items(), colours(splits), strict=True):
        sizes = np.array([(width, height) for height, width in of.sizes]).reshape(-1, 2)
        counts = np.array(list(of.sizes.values()), float)
        area = 14 + 300 * counts / max(1, of.images)
        axes.scatter(*sizes.T, s=area, color=colour, alpha=0.5, lw=0, label=split)
    axes.margins(0.1)
    dress(axes, "width of an image, pixels")
    axes.set_ylabel("height, pixels", fontsize=9, **text_style())


def colours(splits: Splits) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(len(splits))]


def dress(axes: Axes, name: str) -> None:
    axes.set_xlabel(name, fontsize=9, **text_style())
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(color="#E4E4E4", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set(**text_style())
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([30])
