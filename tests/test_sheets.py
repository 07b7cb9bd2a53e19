"""Sheets hold every picture, pixel for pixel, and a legend of what they show."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from jaxseg import sheets
from jaxseg.arrays import VOID
from jaxseg.pictures import PALETTE, error_map, overlay
from jaxseg.sheets import GAP, LINE, save_predictions, save_samples


def scene(height: int, width: int, channels: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image, its mask of classes 1 and 2 with some void, and a prediction that is half right."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, channels), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2, : width // 2], mask[height // 2 :, width // 2 :], mask[:4, -4:] = 1, 2, VOID
    prediction = np.zeros_like(mask)
    prediction[:, : width // 2] = 1
    for array in (image, mask, prediction):
        array.setflags(write=False)
    return image, mask, prediction


def read(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is written on the sheets of a test."""
    written: list[str] = []

    def write(path: Path, figure: Figure) -> None:
        width, height = figure.get_size_inches() * figure.dpi
        for text in figure.axes[0].texts:
            box = text.get_window_extent()
            assert box.x0 >= 0, text.get_text()
            assert box.y0 >= 0, text.get_text()
            assert box.x1 <= width, text.get_text()
            assert box.y1 <= height, text.get_text()
            written.append(text.get_text())

    monkeypatch.setattr(sheets, "write_figure", write)
    return written


@pytest.mark.parametrize(("height", "width", "channels"), [(256, 256, 3), (128, 256, 1)])
def test_pictures_are_drawn_pixel_for_pixel(tmp_path: Path, height: int, width: int, channels: int) -> None:
    image, mask, prediction = scene(height, width, channels)
    save_predictions(tmp_path / "sheet.png", [image], [mask], [prediction], class_names=["cat", "dog"])
    page = read(tmp_path / "sheet.png")
    big, true, predicted = (sheets._enlarge(array) for array in (image, mask, prediction))
    assert big.shape == (2 * height, 2 * width, 3)
    expected = big, overlay(big, true), overlay(big, predicted), error_map(big, true, predicted)
    assert page.shape[1] == 4 * 2 * width + 5 * GAP
    for column, cell in enumerate(expected):
        left = GAP + column * (2 * width + GAP)
        np.testing.assert_array_equal(page[GAP + LINE : GAP + LINE + 2 * height, left : left + 2 * width], cell)


def test_a_grid_has_a_place_for_every_sample(tmp_path: Path) -> None:
    scenes = [scene(128, 128, seed=seed) for seed in range(7)]
    images, masks, _ = zip(*scenes, strict=True)
    save_samples(tmp_path / "grid.png", images, masks, class_names=["cat", "dog"], columns=3)
    page = read(tmp_path / "grid.png")
    assert page.shape[1] == 3 * 512 + 4 * GAP
    for place, (image, mask) in enumerate(zip(images, masks, strict=True)):
        top, left = GAP + place // 3 * (512 + GAP), GAP + place % 3 * (512 + GAP)
        cell = overlay(sheets._enlarge(image), sheets._enlarge(mask))
        np.testing.assert_array_equal(page[top : top + 512, left : left + 512], cell)
    assert (page[-LINE:] == PALETTE[2]).all(axis=-1).any(), "the legend has the colour of the second class"


def test_sizes_may_differ(tmp_path: Path) -> None:
    scenes = [scene(96, 160), scene(700, 300), scene(20, 1)]
    images, masks, predictions = zip(*scenes, strict=True)
    save_samples(tmp_path / "grid.png", images, masks, class_names=["cat", "dog"], columns=2)
    save_predictions(tmp_path / "rows.png", images, masks, predictions, class_names=["cat", "dog"])
    assert max(read(tmp_path / "grid.png").shape) < 4000


def test_masks_keep_their_values() -> None:
    _, mask, _ = scene(700, 1200)
    assert set(np.unique(sheets._enlarge(mask))) == set(np.unique(mask))


def test_the_legend_names_what_is_shown(texts: list[str]) -> None:
    image, mask, _ = scene(64, 64)
    save_samples("unused.png", [image], [mask], class_names=["cat", "dog", "cow"])
    assert texts == ["cat", "dog", "cow", "void"]
    texts.clear()
    save_samples("unused.png", [image], [mask], class_names=[f"kind {place}" for place in range(1, 81)])
    assert texts == ["kind 1", "kind 2", "void"], "of many classes, those that appear"
    texts.clear()
    save_samples("unused.png", [image], [mask], class_names=["cat"])
    assert texts == ["cat", "class 2", "void"]


def test_names_are_written_as_they_are(texts: list[str]) -> None:
    image, mask, _ = scene(64, 64)
    names = ["$5 and $10", "_hidden", r"$\frac{$", "a name that is much too long for a sheet one picture wide" * 3]
    save_samples("unused.png", [image], [mask], class_names=names, captions=["000000000001.jpg " * 9])
    assert texts[1:4] == names[:3]
    assert sum(text.endswith("…") for text in texts) == 2, "the caption and the last name are cut"


def test_each_row_tells_its_iou_or_its_caption(texts: list[str]) -> None:
    image, mask, prediction = scene(64, 64)
    empty = np.zeros_like(mask)
    arguments = [image] * 3, [mask, empty, mask], [prediction, empty, np.where(mask == VOID, 0, mask)]
    save_predictions("unused.png", *arguments, class_names=["cat", "dog"])
    assert texts[:4] == ["image", "truth", "prediction", "errors"]
    assert texts[4:7] == ["IoU 0.333", "no foreground, neither true nor predicted", "IoU 1.000"]
    assert texts[-1] == "wrong class"
    texts.clear()
    save_predictions("unused.png", *arguments, class_names=["cat"], captions=["a", "b", "c"])
    assert texts[4:7] == ["a", "b", "c"]
    assert "wrong class" not in texts


def test_void_does_not_count_in_the_iou(texts: list[str]) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    truth = np.full((8, 8), VOID, np.uint8)
    truth[0, 0] = 1
    save_predictions("unused.png", [image], [truth], [np.ones((8, 8), np.uint8)], class_names=["cat"])
    assert "IoU 1.000" in texts


def test_unequal_or_empty_lists_are_refused(tmp_path: Path) -> None:
    image, mask, _ = scene(64, 64)
    with pytest.raises(ValueError, match="2 images, 1 masks"):
        save_samples(tmp_path / "grid.png", [image, image], [mask], class_names=["cat"])
    with pytest.raises(ValueError, match="nothing to draw"):
        save_samples(tmp_path / "grid.png", [], [], class_names=["cat"])
    with pytest.raises(ValueError, match="columns is 0"):
        save_samples(tmp_path / "grid.png", [image], [mask], class_names=["cat"], columns=0)
    assert not list(tmp_path.iterdir())


def test_a_sheet_too_high_for_a_picture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "HIGHEST", 1000)
    image, mask, _ = scene(64, 64)
    with pytest.raises(ValueError, match="1132 pixels high, the most is 1000: draw fewer"):
        save_samples("unused.png", [image] * 2, [mask] * 2, class_names=["cat"], columns=1)
