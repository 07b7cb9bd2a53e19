"""Where a picture lies in the frame, and back: nothing is distorted that should not be, nothing shifted."""

import numpy as np
import pytest
from PIL import Image

from jaxseg.arrays import VOID
from jaxseg.data.geometry import framed, how_resized, place, restored


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


# The way there.

RANDOM = np.random.default_rng(3)
SIZES = [tuple(np.exp(RANDOM.uniform(0, 8.5, 2)).astype(int).tolist()) for _ in range(300)]
EXTREME = [(1, 5000), (5000, 1), (1, 1), (1, 2), (3, 2**27), (223, 224), (225, 224), (224, 225)]
TARGETS = [(224, 224), (96, 160), (33, 8), (1, 1), (1, 50)]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_letterbox_keeps_the_proportions_fills_one_side_and_is_centred(target: tuple[int, int]) -> None:
    for full in SIZES + EXTREME:
        placement = place(full, target, "letterbox")
        (height, width), (top, left) = placement.inner, placement.corner
        assert 1 <= height <= target[0]
        assert 1 <= width <= target[1]
        assert height == target[0] or width == target[1]
        scale = min(room / side for side, room in zip(full, target, strict=True))
        for side, inner in zip(full, placement.inner, strict=True):
            assert abs(inner - max(1, side * scale)) <= 0.5 + 1e-6
        for corner, inner, room in zip((top, left), placement.inner, target, strict=True):
            assert 0 <= room - inner - 2 * corner <= 1
        turned = place(full[::-1], target[::-1], "letterbox")
        assert (turned.inner, turned.corner) == (placement.inner[::-1], placement.corner[::-1])


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_a_stretch_fills_the_frame(target: tuple[int, int]) -> None:
    for full in SIZES + EXTREME:
        assert place(full, target, "stretch") == (full, target, (0, 0), target)


@pytest.mark.parametrize(
    ("full", "target", "inner", "corner"),
    [
        ((480, 640), (224, 224), (168, 224), (28, 0)),
        ((640, 480), (224, 224), (224, 168), (0, 28)),
        ((1, 5000), (224, 224), (1, 224), (111, 0)),
        ((10, 20), (100, 100), (50, 100), (25, 0)),
        ((50, 100), (224, 448), (224, 448), (0, 0)),
        ((64, 64), (64, 64), (64, 64), (0, 0)),
        ((100, 99), (10, 10), (10, 10), (0, 0)),
        ((30, 40), (15, 40), (15, 20), (0, 10)),
    ],
    ids=str,
)
def test_known_letterboxes(full: tuple, target: tuple, inner: tuple, corner: tuple) -> None:
    assert place(full, target, "letterbox") == (full, inner, corner, target)


def test_of_the_same_proportions_both_rules_are_one() -> None:
    for factor in (1, 2, 5):
        letterbox, stretch = (place((factor * 30, factor * 50), (60, 100), rule) for rule in ("letterbox", "stretch"))
        assert letterbox == stretch


@pytest.mark.parametrize("channels", [(), (1,), (3,)], ids=str)
def test_around_the_picture_lies_the_filling(channels: tuple[int, ...]) -> None:
    placement = place((20, 50), (32, 32), "letterbox")
    inner = np.random.default_rng(0).integers(1, 200, (*placement.inner, *channels), np.uint8)
    for fill in (0, VOID):
        frame = framed(inner, placement, fill)
        assert (frame.shape, frame.dtype) == ((32, 32, *channels), np.uint8)
        assert np.array_equal(frame[placement.window], inner)
        around = np.ones((32, 32), bool)
        around[placement.window] = False
        assert around.sum() == 32 * 32 - np.prod(placement.inner)
        assert (frame[around] == fill).all()


def test_exports_say_how_photographs_were_resized() -> None:
    assert how_resized("stretch", 96, 128) == (
        "In training each photograph was stretched to 96 x 128 (height x width), antialiased."
    )
    assert how_resized("letterbox", 96, 128) == (
        "In training each photograph was scaled to fit 96 x 128 (height x width), antialiased, and centred on black."
    )
    assert how_resized("stretch", None, None) == "The size of the photographs in training is not known."


# The way back.


def triangles(source: int, target: int) -> np.ndarray:
    """The matrix (target, source) of linear interpolation between half-pixel centres, wider where it shrinks."""
    ratio = source / target
    width = max(1.0, ratio)
    matrix = np.zeros((target, source))
    for pixel in range(target):
        centre = (pixel + 0.5) * ratio
        for at in range(source):
            matrix[pixel, at] = max(0.0, 1 - abs(at + 0.5 - centre) / width)
    return matrix / matrix.sum(axis=1, keepdims=True)


def naive(probabilities: np.ndarray, full: tuple[int, int]) -> np.ndarray:
    down, across = (triangles(*sides) for sides in zip(probabilities.shape[:2], full, strict=True))
    return np.einsum("yh,hwc,xw->yxc", down, probabilities, across)


@pytest.mark.parametrize("full", [(61, 47), (9, 100), (13, 7), (1, 1), (24, 36), (24, 90)])
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_it_is_linear_interpolation_of_the_window(full: tuple[int, int], resize: str, outputs: int) -> None:
    placement = place(full, (24, 36), resize)
    frame = noise(24, 36, outputs)
    (top, left), (height, width) = placement.corner, placement.inner
    found = restored(frame, placement)
    assert found.dtype == np.float32
    assert found.shape == (*full, outputs)
    np.testing.assert_allclose(found, naive(frame[top : top + height, left : left + width], full), atol=1e-5)


def test_where_it_grows_it_is_what_scikit_image_gives() -> None:
    transform = pytest.importorskip("skimage.transform")
    frame = noise(24, 36, 2)
    expected = transform.resize(frame, (61, 75), order=1, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(restored(frame, place((61, 75), (24, 36), "stretch")), expected, atol=1e-5)


def test_the_same_size_is_left_as_it_is() -> None:
    frame = noise(24, 36, 1)
    np.testing.assert_array_equal(restored(frame, place((24, 36), (24, 36), "stretch")), frame)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_it_undoes_the_placing(resize: str) -> None:
    """Of a picture of ramps, which both ways of scaling keep but at the border."""
    full = (60, 90)
    placement = place(full, (48, 48), resize)
    rows, columns = np.mgrid[:60, :90].astype(np.float32)
    picture = rows / 200 + columns / 300
    inner = Image.fromarray(picture).resize(placement.inner[::-1], Image.Resampling.BILINEAR)
    frame = framed(np.asarray(inner), placement, fill=0)[..., None]
    np.testing.assert_allclose(restored(frame, placement)[4:-4, 4:-4, 0], picture[4:-4, 4:-4], atol=2e-3)


def test_probabilities_stay_probabilities() -> None:
    frame = noise(16, 16, 3)
    frame = frame / frame.sum(axis=-1, keepdims=True)
    for full in ((47, 61), (7, 5)):
        found = restored(frame, place(full, (16, 16), "letterbox"))
        np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)
        assert found.min() >= frame.min() - 1e-6
        assert found.max() <= frame.max() + 1e-6
