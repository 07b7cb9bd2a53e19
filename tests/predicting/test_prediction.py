"""What a notebook gets: a mask, probabilities, COCO's run-length codes, a picture."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from trained import random_images, random_model

import jaxseg
from jaxseg.data.geometry import place, restored
from jaxseg.data.images import read_image
from jaxseg.loading import load
from jaxseg.pictures import PALETTE
from jaxseg.predicting.prediction import Prediction, drawn_over
from jaxseg.predictor import Predictor
from jaxseg.weights import write_weights


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return saved(tmp_path_factory.mktemp("binary"), out_channels=1)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return saved(tmp_path_factory.mktemp("several"), out_channels=3)


def saved(folder: Path, **settings: object) -> Predictor:
    write_weights(folder / "model", random_model(widths=(4, 6), **settings))
    return load(folder / "model")


def photograph(height: int = 61, width: int = 47) -> np.ndarray:
    return random_images(1, height, width)[0]


def test_it_is_the_networks_probability_at_the_pictures_size(binary: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photograph()).save(path)
    found = binary.predict(path)
    placement = place((61, 47), (binary.height, binary.width), "stretch")
    frame = read_image(path, placement=placement, channels=3)
    expected = restored(binary.probabilities(frame[None])[0], placement)[..., 0]
    np.testing.assert_array_equal(found.probability, expected)
    np.testing.assert_array_equal(found.mask, expected > np.float32(0.4))
    assert found.mask.dtype == np.uint8
    assert 0.05 < found.mask.mean() < 0.95, "the mask shows too little"
    assert found.class_names == ("background", 'the "1"\\')


def test_several_classes_have_a_probability_each(several: Predictor) -> None:
    found = several.predict(photograph())
    assert found.probability.shape == (61, 47, 3)
    np.testing.assert_allclose(found.probability.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(found.mask, found.probability.argmax(-1))
    assert len(np.unique(found.mask)) > 1


def test_a_list_gives_a_list_and_the_same(binary: Predictor) -> None:
    pictures = [photograph(h, w) for h, w in ((61, 47), (20, 30), (9, 90))]
    found = binary.predict([*pictures, Image.fromarray(pictures[0])], batch_size=3)
    assert isinstance(found, list)
    for prediction, picture in zip(found, [*pictures, pictures[0]], strict=True):
        np.testing.assert_allclose(prediction.probability, binary.predict(picture).probability, atol=1e-6)
    assert binary.predict([]) == []


def test_nothing_is_compiled_anew_for_another_size_or_the_last_batch(
    binary: Predictor, compilations: list[str]
) -> None:
    draw = np.random.default_rng(0)
    pictures = [photograph(*draw.integers(1, 120, 2)) for _ in range(11)]
    tta, tile = jaxseg.Tta("mirror"), jaxseg.Tile(0.9)
    for settings in ({}, {"tile": tile}, {"tta": tta}):
        binary.predict(pictures[:1] * 4, batch_size=4, **settings)
        before = len(compilations)
        binary.predict(pictures, batch_size=4, **settings)
        assert len(compilations) == before, settings
    binary.predict(pictures, batch_size=5)
    assert len(compilations) > before, "the listener hears nothing"


def test_a_threshold_changes_the_mask_and_is_for_binary_models(binary: Predictor, several: Predictor) -> None:
    masks = [binary.predict(photograph(), threshold=t).mask.sum() for t in (0.01, 0.3, 0.7, 0.99)]
    assert masks == sorted(masks, reverse=True)
    assert masks[0] > masks[-1]
    with pytest.raises(jaxseg.InputError, match="for binary models"):
        several.predict(photograph(), threshold=0.3)
    with pytest.raises(jaxseg.InputError, match="between 0 and 1"):
        binary.predict(photograph(), threshold=1.5)


def test_a_fault_is_told(binary: Predictor, tmp_path: Path) -> None:
    with pytest.raises(jaxseg.InputError, match=r"float64 \[3, 3, 3\]: expected uint8"):
        binary.predict(np.zeros((3, 3, 3)))
    with pytest.raises(jaxseg.InputError, match="no such file"):
        binary.predict([photograph(), tmp_path / "missing.jpg"])


@pytest.mark.parametrize("size", [(61, 47), (1, 1), (1, 33), (37, 2)])
def test_run_length_codes_come_back(size: tuple[int, int], several: Predictor) -> None:
    found = several.predict(photograph(*size))
    codes = json.loads(json.dumps(found.to_rle()))
    assert list(codes) == list(found.class_names[1:])
    for value, code in enumerate(codes.values(), 1):
        np.testing.assert_array_equal(rle.decode(code), found.mask == value)


def test_it_shows_itself(several: Predictor) -> None:
    found = several.predict(photograph(300, 1700))
    shown = Image.open(io.BytesIO(found._repr_png_()))
    assert shown.size == (800, 141)
    assert "300 x 1700: background" in repr(found)
    assert found.overlay().shape == (300, 1700, 3)
    assert found.overlay(longest=170).shape == (30, 170, 3)
    changed = (found.overlay() != photograph(300, 1700)).any(axis=-1)
    assert changed[found.mask > 0].mean() > 0.9


def test_overlays_have_the_colours_of_the_mask_alone_and_as_much_as_asked() -> None:
    mask = np.zeros((90, 120), np.uint8)
    mask[13:71, 17:95] = 3
    found = drawn_over(np.zeros((90, 120, 3), np.uint8), mask, 60, orientation="shown", opacity=1.0)
    assert {tuple(colour) for colour in found.reshape(-1, 3).tolist()} == {(0, 0, 0), tuple(PALETTE[3].tolist())}
    prediction = Prediction(mask, mask.astype(np.float32), ("a", "b", "c", "d"), np.zeros((90, 120, 3), np.uint8))
    inside = [prediction.overlay(opacity=share)[40, 50].astype(int) for share in (0.0, 0.2, 1.0)]
    np.testing.assert_allclose(inside, [PALETTE[3] * share for share in (0.0, 0.2, 1.0)], atol=1)


def test_an_overlay_lies_as_the_mask_does(binary: Predictor, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photograph(61, 47)).save(tmp_path / "turned.png", exif=exif)
    for orientation, size in (("shown", (47, 61)), ("stored", (61, 47))):
        found = binary.predict(tmp_path / "turned.png", orientation=orientation)
        assert found.mask.shape == size
        assert found.overlay().shape == (*size, 3)


@pytest.mark.parametrize("flips", ["mirror", "all"])
def test_a_flipped_picture_has_a_flipped_mask(flips: str, binary: Predictor) -> None:
    """At the network's size, and in tiles; where scaling rounds alike from both ends."""
    pictures = [photograph(binary.height, binary.width), photograph(40, 36)]
    for picture, tile in zip(pictures, (None, jaxseg.Tile()), strict=True):
        tta = jaxseg.Tta(flips)
        expected = binary.predict(picture, tta=tta, tile=tile).probability
        for axis in (1,) if flips == "mirror" else (0, 1):
            found = binary.predict(np.flip(picture, axis), tta=tta, tile=tile).probability
            np.testing.assert_allclose(np.flip(found, axis), expected, atol=1e-5)
