"""Pictures change what they should, and nothing else."""

import inspect

import numpy as np
import pytest

from jaxseg.arrays import VOID
from jaxseg.pictures import ERRORS, PALETTE, VOID_SHADES, _palette, as_rgb, colour_mask, error_map, overlay, panel

# Machado et al. (2009), full severity, on linear RGB.
RED_BLIND = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
GREEN_BLIND = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]


# Classes 1, 8, 9, 40, 200, 254. Pictures of different runs are compared: a change belongs in the changelog.
PINNED = [[30, 148, 255], [121, 250, 255], [255, 64, 0], [191, 159, 32], [191, 128, 223], [64, 159, 96]]


@pytest.fixture
def image() -> np.ndarray:
    array = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    array.setflags(write=False)
    return array


@pytest.fixture
def mask() -> np.ndarray:
    """Two classes that touch, a void block, and background."""
    array = np.zeros((60, 80), np.uint8)
    array[10:30, 10:40], array[10:30, 40:70], array[40:55, 5:25] = 1, 2, VOID
    array.setflags(write=False)
    return array


def far_from_borders(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    return (windows == mask[..., None, None]).all(axis=(2, 3))


def test_every_class_has_a_colour_of_its_own() -> None:
    assert len(np.unique(PALETTE, axis=0)) == 256
    chroma = np.ptp(PALETTE.astype(int), axis=1)
    assert (chroma[1:VOID] >= 60).all(), "a class looks grey, like void"
    assert chroma[VOID] == 0
    assert (PALETTE[0] == 0).all()


def test_the_palette_is_the_same_everywhere() -> None:
    np.testing.assert_array_equal(_palette(), PALETTE)
    assert PALETTE[[1, 8, 9, 40, 200, 254]].tolist() == PINNED
    with pytest.raises(ValueError, match="read-only"):
        PALETTE[1] = 0


@pytest.mark.parametrize("sight", [np.eye(3), np.array(RED_BLIND), np.array(GREEN_BLIND)])
def test_the_first_classes_differ_to_red_and_green_blind_eyes(sight: np.ndarray) -> None:
    colours = np.concatenate([PALETTE[:9], np.repeat(VOID_SHADES, 3).reshape(2, 3)])
    seen = np.clip((colours / 255) ** 2.2 @ sight.T, 0, 1) ** (1 / 2.2)
    distance = np.linalg.norm(seen[:, None] - seen, axis=-1) + 9 * np.eye(len(seen))
    assert distance.min() > 0.2


def test_a_mask_takes_its_colours(mask: np.ndarray) -> None:
    picture = colour_mask(mask)
    assert picture.dtype == np.uint8
    for index in range(3):
        assert (picture[mask == index] == PALETTE[index]).all()
    shades = np.unique(picture[mask == VOID], axis=0)
    assert shades.tolist() == [[shade] * 3 for shade in VOID_SHADES], "void is a checker of two greys"


@pytest.mark.parametrize("channels", [1, 3])
def test_an_overlay_leaves_the_background_alone(image: np.ndarray, mask: np.ndarray, channels: int) -> None:
    image = image[..., :channels]
    picture = overlay(image, mask)
    assert picture.shape == (60, 80, 3)
    assert picture.dtype == np.uint8
    untouched = far_from_borders(mask) & (mask == 0)
    assert untouched.sum() > 1000
    np.testing.assert_array_equal(picture[untouched], as_rgb(image)[untouched])
    np.testing.assert_array_equal(overlay(image, np.zeros_like(mask)), as_rgb(image))


def test_an_overlay_mixes_by_its_opacity(image: np.ndarray, mask: np.ndarray) -> None:
    inside = far_from_borders(mask) & (mask > 0) & (mask < VOID)
    for opacity in (0.0, 0.3, 1.0):
        expected = image * (1 - opacity) + PALETTE[mask] * opacity
        difference = np.abs(overlay(image, mask, opacity=opacity) - expected)[inside]
        assert difference.max() <= 0.5 + 1e-9
    with pytest.raises(ValueError, match="opacity is 50"):
        overlay(image, mask, opacity=50.0)


def test_each_region_ends_in_a_line(image: np.ndarray, mask: np.ndarray) -> None:
    picture = overlay(image, mask)
    for row, column, index in ((10, 20, 1), (20, 10, 1), (20, 39, 1), (20, 40, 2), (29, 60, 2), (20, 69, 2)):
        assert (picture[row, column] == PALETTE[index]).all()
    assert (picture[9, 20] == image[9, 20] // 3).all(), "a dark line around"
    full = overlay(image, np.ones_like(mask))
    assert (full[0] != PALETTE[1]).any(), "the frame of the picture is no border"


def test_void_shows_in_an_overlay() -> None:
    grey = np.full((64, 64, 3), 136, np.uint8)
    picture = overlay(grey, np.full((64, 64), VOID, np.uint8))
    assert np.ptp(picture.astype(int), axis=2).max() == 0
    assert np.ptp(picture.astype(int)) > 40, "the checker stands out"


def test_errors_have_four_kinds() -> None:
    black = np.zeros((1, 6, 3), np.uint8)
    truth = np.array([[0, 1, 0, 1, 1, VOID]], np.uint8)
    prediction = np.array([[0, 1, 1, 0, 2, 1]], np.uint8)
    picture = error_map(black, truth, prediction)[0].astype(int)
    assert (picture[0] == 0).all()
    for place, kind in enumerate(("correct", "false positive", "false negative", "wrong class"), start=1):
        assert np.abs(picture[place] - 0.8 * np.array(ERRORS[kind])).max() < 1
    assert (picture[5] == VOID_SHADES[1]).all() or (picture[5] == VOID_SHADES[0]).all()


def test_a_perfect_prediction_has_no_errors(image: np.ndarray, mask: np.ndarray) -> None:
    picture = error_map(image, mask, np.where(mask == VOID, 1, mask).astype(np.uint8))
    assert np.ptp(picture.astype(int), axis=2).max() == 0, "errors are the only colours"


def test_a_panel_holds_image_truth_and_prediction(image: np.ndarray, mask: np.ndarray) -> None:
    prediction = np.roll(mask, 3, axis=0)
    picture = panel(image, mask, prediction)
    assert picture.shape == (60 + 15, 3 * 80 + 2 * 2, 3)
    for left, cell in ((0, image), (82, colour_mask(mask)), (164, colour_mask(prediction))):
        np.testing.assert_array_equal(picture[15:, left : left + 80], cell)
        assert picture[:15, left : left + 80].min() < 128, "a title is written"
    assert (panel(image[..., :1], mask, prediction)[15:, :80] == image[..., :1]).all()


def test_wrong_arrays_are_refused(image: np.ndarray, mask: np.ndarray) -> None:
    def drawn(*arrays: np.ndarray) -> None:  # without the tests' own check of shapes
        inspect.unwrap(panel)(*arrays)

    with pytest.raises(ValueError, match=r"the image is float64 \[60, 80, 3\]: expected uint8"):
        drawn(image / 255, mask, mask)
    with pytest.raises(ValueError, match=r"the image is uint8 \[60, 80, 4\]"):
        drawn(np.zeros((60, 80, 4), np.uint8), mask, mask)
    with pytest.raises(ValueError, match=r"the mask is bool"):
        drawn(image, mask > 0, mask)
    with pytest.raises(ValueError, match=r"the mask is \[80, 60\], its image \[60, 80\]"):
        drawn(image, mask, mask.T)


def test_real_photographs_keep_their_background(coco_dev) -> None:
    from PIL import Image

    for path in sorted((coco_dev / "images" / "val2017").iterdir())[:3]:
        image = np.asarray(Image.open(path).convert("RGB"))
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[50:150, 60:160] = 1
        changed = (overlay(image, mask) != image).any(axis=-1)
        assert changed[50:150, 60:160].mean() > 0.9
        changed[44:156, 54:166] = False
        assert not changed.any()
