"""Colours change as Pillow and SciPy change them."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage
from scipy.spatial.transform import Rotation

from jaxseg.augment.colour import blurred, brightened, contrasted, grey_of, hue_turned, saturated

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 18, 3), np.uint8)
IMAGE = jnp.asarray(PIXELS / np.float32(255))


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.8])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(brightened, ImageEnhance.Brightness), (contrasted, ImageEnhance.Contrast), (saturated, ImageEnhance.Color)],
)
def test_enhancements_are_pillows(ours, theirs, factor):
    expected = np.asarray(theirs(Image.fromarray(PIXELS)).enhance(factor)) / 255
    np.testing.assert_allclose(ours(IMAGE, jnp.float32(factor)), expected, atol=2.5 / 255)  # Pillow rounds on the way


def test_grey_is_pillows():
    expected = np.asarray(Image.fromarray(PIXELS).convert("L")) / 255
    np.testing.assert_allclose(grey_of(IMAGE)[..., 0], expected, atol=1 / 255)
    np.testing.assert_array_equal(grey_of(IMAGE[..., :1]), IMAGE[..., :1])


@pytest.mark.parametrize("angle", [-0.7, 0.0, 0.3, 2.0])
def test_hue_turns_about_the_greys(angle):
    axis = np.ones(3) / np.sqrt(3)
    expected = Rotation.from_rotvec(angle * axis).apply(np.asarray(IMAGE).reshape(-1, 3)).reshape(IMAGE.shape)
    np.testing.assert_allclose(hue_turned(IMAGE, jnp.float32(angle)), expected.clip(0, 1), atol=1e-5)
    red = jnp.array([[[1.0, 0.0, 0.0]]])
    np.testing.assert_allclose(hue_turned(red, jnp.float32(2 * np.pi / 3)), [[[0, 1, 0]]], atol=1e-6)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.5, 4.0])
def test_blur_is_scipys(sigma):
    expected = ndimage.gaussian_filter(np.asarray(IMAGE), (sigma, sigma, 0), mode="nearest", truncate=12)
    # SciPy's tails are longer than the picture; ours end one picture further out.
    np.testing.assert_allclose(blurred(IMAGE, jnp.float32(sigma)), expected, atol=2e-5)
