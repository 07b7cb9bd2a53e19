"""From the frame back to the picture: the way there, backwards."""

import numpy as np
import pytest
from PIL import Image

from jaxseg.data.geometry import framed, place, restored


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, np.float32)


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
