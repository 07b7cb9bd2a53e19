"""A batch's changes depend on its key and each image's place alone, and are what the settings say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxseg.arrays import VOID
from jaxseg.augment import Augment
from jaxseg.config import Config
from jaxseg.errors import InputError

KEY = jax.random.key(5)
ALL = Augment(
    flip=0.5,
    flip_vertical=0.5,
    rotate90=True,
    zoom=(0.7, 1.6),
    rotate=20.0,
    shear=10.0,
    elastic=1.5,
    brightness=0.3,
    contrast=0.3,
    saturation=0.5,
    hue=0.1,
    grey=0.2,
    blur=1.0,
    noise=0.05,
    cutout=0.3,
)
ONES = {
    "flip": 1.0,
    "flip_vertical": 1.0,
    "rotate90": True,
    "zoom": (1.5, 2.0),
    "rotate": 30.0,
    "shear": 20.0,
    "elastic": 3.0,
    "brightness": 0.5,
    "contrast": 0.5,
    "saturation": 0.9,
    "hue": 0.3,
    "grey": 1.0,
    "blur": 2.0,
    "noise": 0.2,
    "cutout": 0.5,
}
OF_SHAPE = ("flip", "flip_vertical", "rotate90", "zoom", "rotate", "shear", "elastic")


def batch(size=8, side=16, channels=3):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.random((size, side, side, channels)), jnp.float32), jnp.asarray(
        rng.integers(0, 3, (size, side, side)), jnp.uint8
    )


def test_nothing_is_changed_unless_asked():
    images, masks = batch()
    found = Augment()(KEY, images, masks)
    assert found[0] is images
    assert found[1] is masks


@pytest.mark.parametrize("name", ONES)
def test_each_setting_does_its_part_alone(name):
    images, masks = batch()
    found, labels = jax.jit(Augment(**{name: ONES[name]}))(KEY, images, masks)
    assert (np.asarray(found) != np.asarray(images)).any(axis=(1, 2, 3)).sum() >= 6
    assert ((np.asarray(labels) != np.asarray(masks)).any()) == (name in OF_SHAPE)
    assert found.dtype == images.dtype
    assert labels.dtype == masks.dtype
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    if name in ("flip", "flip_vertical", "rotate90"):  # nothing is lost
        np.testing.assert_array_equal(np.sort(found.ravel()), np.sort(images.ravel()))


def test_an_image_depends_on_its_place_and_the_key_alone():
    images, masks = batch()
    augment = jax.jit(ALL)
    whole = augment(KEY, images, masks)
    fewer = augment(KEY, images[:3], masks[:3])
    for all_of_them, first in zip(whole, fewer, strict=True):
        np.testing.assert_allclose(all_of_them[:3], first, atol=1e-6)
    same = augment(KEY, *(jnp.broadcast_to(a[:1], a.shape) for a in (images, masks)))
    assert len(np.unique(np.asarray(same[0]).reshape(8, -1), axis=0)) == 8
    other = augment(jax.random.key(6), images, masks)
    assert (np.asarray(other[0]) != np.asarray(whole[0])).any(axis=(1, 2, 3)).all()


def test_eight_devices_and_no_jit_give_the_same():
    images, masks = batch()
    expected = ALL(KEY, images, masks)
    layout = NamedSharding(Mesh(np.array(jax.devices()), ("batch",)), PartitionSpec("batch"))
    shared = jax.jit(ALL, in_shardings=(None, layout, layout))(KEY, images, masks)
    for ours, theirs in zip(shared, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_right_angles_are_the_eight_of_them():
    images, masks = batch(64)
    image = jnp.broadcast_to(images[:1], images.shape)
    found = np.asarray(Augment(rotate90=True)(KEY, image, masks)[0])
    one = np.asarray(image[0])
    eight = {np.rot90(side, turns).tobytes() for side in (one, one.swapaxes(0, 1)) for turns in range(4)}
    assert {each.tobytes() for each in found} == eight


def test_zoom_is_between_its_ends():
    """Shown small, all of the picture is there; shown large, nothing is void."""
    images, masks = batch(16, side=32)
    small = Augment(zoom=(0.5, 0.5))(KEY, images, masks)[1]
    assert np.isclose((small != VOID).mean(axis=(1, 2)), 0.25, atol=0.03).all()
    large = Augment(zoom=(1.0, 2.0))(KEY, images, masks)[1]
    assert (large != VOID).all()


def test_a_grey_network_takes_what_has_no_colours():
    images, masks = batch(channels=1)
    found, _ = ALL(KEY, images, masks)
    assert found.shape == images.shape


def test_the_rectangle_is_as_large_as_asked_and_black():
    images, masks = batch(64, side=20)
    found, labels = Augment(cutout=0.5)(KEY, images + 0.01, masks)
    share = (found == 0).all(axis=-1).mean(axis=(1, 2))
    assert float(share.max()) <= 0.3
    assert float(share.mean()) == pytest.approx(1 / 16, abs=0.025)
    np.testing.assert_array_equal(labels, masks)


def test_some_images_are_left_as_they_are_in_shape_and_apart_in_colour():
    images, masks = batch(size=400)
    augment = Augment(zoom=(1.5, 2.0), brightness=0.5, probability=0.25)
    changed, moved = augment(KEY, images, masks)
    shape = np.asarray(jnp.any(moved != masks, axis=(1, 2)))
    same = ~shape
    colour = np.asarray(jnp.any(changed != images, axis=(1, 2, 3)))[same]
    # 400 draws of a quarter: 4.3 standard deviations
    assert 63 <= shape.sum() <= 137
    assert 0.13 < colour.mean() < 0.37
    assert Augment(probability=0.5).changes is False


def test_flips_do_not_wait_for_the_other_changes():
    images, masks = batch()
    flipped, _ = Augment(flip=1.0, rotate=30.0, noise=0.2, probability=0.0)(KEY, images, masks)
    assert jnp.array_equal(flipped, images[:, :, ::-1])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"flip": 1.5}, "augment.flip is 1.5"),
        ({"probability": -0.1}, "augment.probability is -0.1"),
        ({"brightness": -0.3}, "augment.brightness is -0.3"),
        ({"rotate": float("inf")}, "augment.rotate is inf"),
        ({"noise": float("nan")}, "augment.noise is nan"),
        ({"zoom": (0.0, 1.0)}, "augment.zoom is from 0.0 to 1.0"),
        ({"zoom": (1.4, 0.7)}, "the smaller one first"),
        ({"elastic": 3.0, "elastic_knots": 1}, "augment.elastic_knots is 1"),
    ],
)
def test_a_number_out_of_range_is_named_before_training(wrong, told):
    with pytest.raises(InputError, match=told):
        Config(augment=Augment(**wrong)).check()


def test_the_ends_of_the_ranges_are_good():
    Config(augment=Augment(flip=1.0, zoom=(1.0, 1.0), cutout=1.0, probability=0.0)).check()
