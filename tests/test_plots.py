"""Curves are drawn from whatever a run recorded, and files are whole or absent."""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jaxseg import plots
from jaxseg.plots import save_loss_curves, write_figure

KEYS = ("train_loss", "val_loss", "train_iou", "val_iou", "val_dice", "val_predicted_share", "val_true_share")


def falling(epochs: int) -> list[dict[str, float | int | None]]:
    return [{"epoch": epoch + 1} | dict.fromkeys(KEYS, 0.9 / (epoch + 2)) for epoch in range(epochs)]


def drawn(history: list, monkeypatch: pytest.MonkeyPatch) -> Figure:
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "write_figure", lambda path, figure: figures.append(figure))
    save_loss_curves("unused.png", history)
    return figures[0]


def line(figure: Figure, label: str) -> np.ndarray:
    """The points of a curve, [points, 2]."""
    (found,) = [line for axes in figure.axes for line in axes.lines if str(line.get_label()).startswith(label)]
    return np.array(found.get_data(), float).T


@pytest.mark.parametrize("epochs", [1, 2, 300])
def test_curves_of_any_length(tmp_path: Path, epochs: int) -> None:
    path = tmp_path / "new" / "folder" / "curves.png"
    save_loss_curves(path, falling(epochs))
    with Image.open(path) as picture:
        picture.verify()
        assert picture.format == "PNG"
        assert min(picture.size) > 500
    assert [file.name for file in path.parent.iterdir()] == ["curves.png"]


def test_missing_values_are_bridged_and_nan_breaks_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    train: list[float | None] = [0.5, None, math.nan, 0.3, math.inf]
    history = [{"epoch": epoch, "train_loss": value} for epoch, value in enumerate(train)]
    figure = drawn(history, monkeypatch)
    curve, crosses = figure.axes[0].lines
    np.testing.assert_array_equal(curve.get_xdata(), [0, 2, 3, 4])
    np.testing.assert_array_equal(curve.get_ydata(), [0.5, math.nan, 0.3, math.nan])
    np.testing.assert_array_equal(crosses.get_xdata(), [2, 4])


def test_the_lowest_validation_loss_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [math.nan, 0.4, 0.2, 0.2, 0.3]
    history = [{"epoch": epoch + 1, "val_loss": value} for epoch, value in enumerate(values)]
    figure = drawn(history, monkeypatch)
    np.testing.assert_array_equal(line(figure, "lowest validation loss: 0.2, epoch 3"), [[3, 0.2]])


def test_records_of_one_epoch_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    history = [
        {"epoch": 2, "train_loss": 9.0},
        {"step": 7, "train_loss": 5.0},
        {"epoch": 1, "train_loss": 3.0},
        {"epoch": 2, "train_loss": 2.0},
        {"epoch": 2, "val_loss": 2.5},
    ]
    figure = drawn(history, monkeypatch)
    np.testing.assert_array_equal(line(figure, "training"), [[1, 3], [2, 2]])
    assert line(figure, "lowest")[0].tolist() == [2, 2.5]


def test_a_wide_span_of_losses_is_logarithmic(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = {40.0: "log", 2.0: "linear"}
    for first, scale in spans.items():
        history = [{"epoch": 1, "train_loss": first}, {"epoch": 2, "train_loss": 1.0}]
        assert drawn(history, monkeypatch).axes[0].get_yscale() == scale
    below_zero = [{"epoch": 1, "train_loss": 40.0}, {"epoch": 2, "train_loss": -1.0}]
    assert drawn(below_zero, monkeypatch).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("record", [{}, {"train_loss": None}, {"train_loss": math.nan}, {"train_loss": 0.0}])
def test_an_epoch_without_values_still_plots(tmp_path: Path, record: dict[str, float | None]) -> None:
    save_loss_curves(tmp_path / "curves.png", [{"epoch": 1, **record}])
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_no_epoch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the 1 records"):
        save_loss_curves(tmp_path / "curves.png", [{"step": 10, "train_loss": 1.0}])
    assert not list(tmp_path.iterdir())


def test_the_history_is_left_alone_and_the_file_depends_on_it_alone(tmp_path: Path) -> None:
    history = falling(12)
    save_loss_curves(tmp_path / "one.png", history)
    assert history == falling(12)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: save_loss_curves(tmp_path / name, history), ("two.png", "three.png", "four.png")))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_the_ending_gives_the_format(tmp_path: Path) -> None:
    for name, start in (("curves.pdf", b"%PDF"), ("curves.svg", b"<?xml"), ("curves", b"\x89PNG")):
        save_loss_curves(tmp_path / name, falling(3))
        assert (tmp_path / name).read_bytes().startswith(start)


def half_written(file: Path, data: bytes) -> int:
    with file.open("wb") as out:
        out.write(data[: len(data) // 2])
    raise OSError(28, "No space left on device")


def not_moved(_from: Path, _to: Path) -> None:
    raise OSError(13, "Permission denied")


@pytest.mark.parametrize(
    ("where", "name", "failing"), [(Path, "write_bytes", half_written), (os, "replace", not_moved)]
)
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: object, name: str, failing: Callable
) -> None:
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(where, name, failing)
    with pytest.raises(OSError, match=r"No space left|Permission denied"):
        write_figure(path, Figure())
    monkeypatch.undo()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"curves.png": b"old"}


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="txt"):
        write_figure(tmp_path / "curves.txt", Figure())
    assert not list(tmp_path.iterdir())
