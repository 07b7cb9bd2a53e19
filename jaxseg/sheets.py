"""Sheets of pictures as a figure file: samples with their masks, and predictions beside the truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from jaxseg.arrays import VOID
from jaxseg.pictures import ERRORS, as_rgb, colour_mask, error_map, overlay
from jaxseg.plots import DPI, FAINT, text_style, write_figure

GAP = 16  # pixels between pictures and around the sheet
LINE = 44  # pixels from one line of text to the next
SWATCH = (22, 34)
HIGHEST = 2**16 - 1  # what matplotlib can draw

# Each of its own size.
Pictures = Sequence[UInt8[np.ndarray, "_ _ _"]]
Masks = Sequence[UInt8[np.ndarray, "_ _"]]
Swatches = Sequence[tuple[str, UInt8[np.ndarray, "_ _ 3"]]]


def save_predictions(
    path: str | Path,
    images: Pictures,
    truths: Masks,
    predictions: Masks,
    *,
    class_names: Sequence[str],
    captions: Sequence[str] | None = None,
) -> None:
    """One row a sample: image, truth, prediction, errors.

    `class_names` are those of classes 1, 2, ...: background is not named. Under each row stands its caption, or else
    the IoU of its foreground, all classes taken together.
    """
    _check_lengths(images=images, truths=truths, predictions=predictions, captions=captions)
    rows = []
    for image, truth, prediction in zip(images, truths, predictions, strict=True):
        big, true, predicted = _enlarge(image), _enlarge(truth), _enlarge(prediction)
        rows.append((big, overlay(big, true), overlay(big, predicted), error_map(big, true, predicted)))
    axes = _page()
    pitch = max(row[0].shape[1] for row in rows) + GAP
    width, bottom = 4 * pitch - GAP, LINE
    for column, title in enumerate(("image", "truth", "prediction", "errors")):
        middle = column * pitch + (pitch - GAP) / 2
        axes.text(middle, bottom - GAP, title, fontsize=10, ha="center", **text_style())
    if captions is None:
        captions = [_iou(truth, prediction) for truth, prediction in zip(truths, predictions, strict=True)]
    for row, caption in zip(rows, captions, strict=True):
        for column, picture in enumerate(row):
            _place(axes, picture, column * pitch, bottom)
        bottom = _caption(axes, caption, 0, bottom + row[0].shape[0], width)
    kinds = [kind for kind in ERRORS if kind != "wrong class" or len(class_names) > 1]
    errors = [(kind, np.full((*SWATCH, 3), ERRORS[kind], np.uint8)) for kind in kinds]
    bottom = _legend(axes, _class_swatches(class_names, [*truths, *predictions]), width, bottom + GAP)
    bottom = _legend(axes, errors, width, bottom, heading="errors:")
    _finish(path, axes, width, bottom)


def save_samples(
    path: str | Path,
    images: Pictures,
    masks: Masks,
    *,
    class_names: Sequence[str],
    captions: Sequence[str] | None = None,
    columns: int = 5,
) -> None:
    """A grid of images with their masks laid over, each above its caption if there is one.

    `class_names` are those of classes 1, 2, ...: background is not named.
    """
    _check_lengths(images=images, masks=masks, captions=captions)
    if columns < 1:
        raise ValueError(f"columns is {columns}: expected 1 or more")
    cells = [overlay(_enlarge(image), _enlarge(mask)) for image, mask in zip(images, masks, strict=True)]
    axes = _page()
    columns = min(columns, len(cells))
    pitch = max(cell.shape[1] for cell in cells) + GAP
    width, top, bottom = columns * pitch - GAP, 0, 0
    for place, cell in enumerate(cells):
        left = place % columns * pitch
        top = bottom if left == 0 else top
        _place(axes, cell, left, top)
        end = top + cell.shape[0]
        end = end + GAP if captions is None else _caption(axes, captions[place], left, end, pitch - GAP)
        bottom = max(bottom, end)
    bottom = _legend(axes, _class_swatches(class_names, masks), width, bottom + GAP)
    _finish(path, axes, width, bottom)


def _check_lengths(**lists: Sequence[object] | None) -> None:
    lengths = {name: len(items) for name, items in lists.items() if items is not None}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"expected as many of each, found {', '.join(f'{n} {name}' for name, n in lengths.items())}")
    if not all(lengths.values()):
        raise ValueError(f"{' and '.join(lengths)} are empty: there is nothing to draw")


def _enlarge(array: UInt8[np.ndarray, "height width ..."]) -> UInt8[np.ndarray, "_ _ ..."]:
    """An image, in RGB, or a mask, about two inches wide, at most three high; small ones grow by a whole number."""
    height, width = array.shape[:2]
    scale = min(2 * DPI / width, 3 * DPI / height)
    scale = round(scale) if scale > 0.75 else scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if array.ndim == 2:
        return np.asarray(Image.fromarray(array).resize(size, Image.Resampling.NEAREST))
    return np.asarray(Image.fromarray(as_rgb(array)).resize(size, Image.Resampling.LANCZOS))


def _page() -> Axes:
    """Axes in pixels from the top left; `_finish` sets their extent."""
    figure = Figure(dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return axes


def _finish(path: str | Path, axes: Axes, width: int, height: int) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    if height + GAP > HIGHEST:
        raise ValueError(f"the sheet would be {height + GAP} pixels high, the most is {HIGHEST}: draw fewer samples")
    axes.set(xlim=(-GAP, width + GAP), ylim=(height, -GAP), aspect="auto")
    figure.set_size_inches((width + 2 * GAP) / DPI, (height + GAP) / DPI)
    write_figure(path, figure)


def _place(axes: Axes, picture: UInt8[np.ndarray, "height width 3"], left: int, top: int) -> None:
    height, width, _ = picture.shape
    axes.imshow(picture, extent=(left, left + width, top + height, top), interpolation="nearest")


def _cut(drawn: Text, room: int) -> float:
    """Shorten a drawn text to its room; returns its width."""
    text = drawn.get_text()
    while (width := drawn.get_window_extent().width) > room and text:
        text = text[: min(len(text) - 1, int(len(text) * room / width))]
        drawn.set_text(f"{text}…")
    return width


def _caption(axes: Axes, text: str, left: int, top: int, room: int) -> int:
    """One small line; returns where the next thing may begin."""
    _cut(axes.text(left, top + LINE / 2, text, fontsize=6.5, va="center", **text_style(FAINT)), room)
    return top + LINE


def _class_swatches(class_names: Sequence[str], masks: Masks) -> Swatches:
    """All classes if they are few, else those that appear; void if it appears."""
    shown = set(np.unique(np.concatenate([np.unique(mask) for mask in masks])).tolist()) - {0}
    if len(class_names) <= 8:
        shown |= set(range(1, len(class_names) + 1))
    names = dict(enumerate(class_names, start=1)) | {VOID: "void"}
    return [(names.get(i, f"class {i}"), colour_mask(np.full(SWATCH, i, np.uint8))) for i in sorted(shown)]


def _legend(axes: Axes, entries: Swatches, width: int, top: int, heading: str = "") -> int:
    """Swatches with their names, in as many lines as they need; returns where the next thing may begin."""
    left, indent = 0, SWATCH[1] + 12
    if heading:
        drawn = axes.text(left, top + LINE / 2, heading, fontsize=8, va="center", **text_style(FAINT))
        left = round(drawn.get_window_extent().width) + 20
    for name, swatch in entries:
        text = axes.text(0, 0, name, fontsize=8, va="center", **text_style())
        length = indent + round(_cut(text, width - indent))
        if left > 0 and left + length > width:
            left, top = 0, top + LINE
        _place(axes, swatch, left, top + (LINE - SWATCH[0]) // 2)
        text.set_position((left + indent, top + LINE / 2))
        left += length + 36
    return top + LINE


def _iou(truth: UInt8[np.ndarray, "height width"], prediction: UInt8[np.ndarray, "height width"]) -> str:
    valid = truth != VOID
    true, predicted = (truth > 0) & valid, (prediction > 0) & valid
    either = np.sum(true | predicted)
    return f"IoU {np.sum(true & predicted) / either:.3f}" if either else "no foreground, neither true nor predicted"
