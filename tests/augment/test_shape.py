"""Shapes change as SciPy and NumPy change them, image and mask together."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxseg.arrays import VOID
from jaxseg.augment.shape import affine_places, elastic_places, identity_places, mirrored, resampled, transposed

SIZE = (20, 28)


def picture(seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.random((*size, 3)), (1, 1, 0)).astype(np.float32)
    return jnp.asarray(image), jnp.asarray(rng.integers(0, 4, size), jnp.uint8)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("down", [False, True])
def test_mirrors_are_numpys(across, down):
    image, mask = picture()
    axes = [axis for axis, flip in ((0, down), (1, across)) if flip]
    found = mirrored(image, mask, jnp.array(across), jnp.array(down))
    for array, changed in zip((image, mask), found, strict=True):
        np.testing.assert_array_equal(changed, np.flip(array, axes))


def test_a_swap_is_a_transposition():
    image, mask = picture(size=(12, 12))
    found = transposed(image, mask, jnp.array(True))
    np.testing.assert_array_equal(found[0], np.swapaxes(image, 0, 1))
    np.testing.assert_array_equal(found[1], mask.T)


@pytest.mark.parametrize(
    ("zoom", "angle", "shear", "shift"),
    [
        (1.0, 0, 0, (0, 0)),
        (1.7, 0, 0, (3.2, -4.1)),
        (0.6, 30, 0, (0, 0)),
        (1.2, -75, 20, (-2, 5)),
        (1.0, 90, 0, (0, 0)),
    ],
)
def test_an_affine_change_is_scipys(zoom, angle, shear, shift):
    image, mask = picture()
    turn, lean = math.radians(angle), math.radians(shear)
    places = affine_places(identity_places(*SIZE), *map(jnp.float32, (zoom, turn, lean)), jnp.array(shift, jnp.float32))
    found, labels = resampled(image, mask, places)
    matrix = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    matrix = matrix @ np.array([[1, 0], [math.tan(lean), 1]]) / zoom
    centre = (np.array(SIZE) - 1) / 2
    offset = centre + shift - matrix @ centre
    expected = np.stack(
        [
            ndimage.affine_transform(np.asarray(image)[..., c], matrix, offset, order=1, mode="nearest")
            for c in range(3)
        ],
        axis=-1,
    )
    rows, columns = np.indices(SIZE)
    source = np.einsum("ij,jhw->ihw", matrix, np.stack([rows, columns])) + offset[:, None, None]
    edge = np.minimum(source + 0.5, np.array(SIZE)[:, None, None] - 0.5 - source).min(axis=0)
    inside = edge > 1e-4
    np.testing.assert_allclose(np.asarray(found)[inside], expected[inside], atol=2e-5)
    assert not np.asarray(found)[edge < -1e-4].any()
    assert (np.asarray(labels)[edge < -1e-4] == VOID).all()
    sure = inside & (np.abs(source % 1 - 0.5).min(axis=0) > 1e-3)  # not half-way between two pixels
    nearest = ndimage.affine_transform(np.asarray(mask), matrix, offset, order=0, mode="nearest")
    np.testing.assert_array_equal(np.asarray(labels)[sure], nearest[sure])


def test_a_positive_angle_turns_counter_clockwise():
    image, mask = picture(size=(16, 16))
    places = affine_places(identity_places(16, 16), *map(jnp.float32, (1, math.pi / 2, 0)), jnp.zeros(2))
    found, labels = resampled(image, mask, places)
    np.testing.assert_allclose(found, np.rot90(image), atol=1e-4)
    np.testing.assert_array_equal(labels, np.rot90(mask))


def test_elastic_moves_smoothly_and_by_what_was_asked():
    places = identity_places(*SIZE)
    moves = np.stack([elastic_places(jax.random.key(n), places, 2.0, 4) - places for n in range(200)])
    assert moves.std() == pytest.approx(1.6, abs=0.4)  # between the knots it is less than at them
    assert np.abs(moves.mean()) < 0.1
    assert np.abs(np.diff(moves, axis=-1)).max() < 3
    np.testing.assert_array_equal(elastic_places(jax.random.key(0), places, 0.0, 4), places)


def test_image_and_mask_stay_together():
    """A picture of the mask, changed as an image, shows the changed mask."""
    mask = jnp.asarray(np.kron(np.random.default_rng(1).integers(0, 2, (4, 5)), np.ones((16, 16))), jnp.uint8)
    places = elastic_places(jax.random.key(3), identity_places(*mask.shape), 4.0, 4)
    places = affine_places(places, *map(jnp.float32, (1.3, 0.4, 0.2)), jnp.array([3.0, -2.0]))
    found, labels = resampled(mask[..., None].astype(jnp.float32), mask, places)
    counts = (labels != VOID) & (jnp.abs(found[..., 0] - 0.5) > 1e-3)
    assert counts.mean() > 0.7
    agree = (found[..., 0] > 0.5) == (labels == 1)
    assert float(agree[counts].mean()) > 0.985  # bilinear and nearest differ at corners
