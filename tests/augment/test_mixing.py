"""Mixed images hold pixels of two images of the batch, each with its own label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxseg.arrays import VOID
from jaxseg.augment import Augment
from jaxseg.augment.mixing import partner, rectangle

KEY = jax.random.key(7)


def told(size=8, side=(12, 16)):
    """Pixels that tell image, row and column; masks of 0, 1, 2 and void, so that a label tells whose it is."""
    place, row, column = np.meshgrid(np.arange(size), np.arange(side[0]), np.arange(side[1]), indexing="ij")
    images = np.stack([place / size, row / side[0], column / side[1]], axis=-1).astype(np.float32)
    masks = np.random.default_rng(1).choice([0, 1, 2, VOID], (size, *side)).astype(np.uint8)
    return jnp.asarray(images), jnp.asarray(masks)


def origins(images, found):
    """Which image each pixel is of; and that it is at the place where it was."""
    np.testing.assert_array_equal(found[..., 1:], images[..., 1:])
    return np.rint(np.asarray(found[..., 0]) * len(images)).astype(int)


@pytest.mark.parametrize("name", ["cutmix", "copy_paste"])
def test_labels_come_with_their_pixels(name):
    images, masks = told()
    found, labels = jax.jit(Augment(**{name: 1.0}))(KEY, images, masks)
    of = origins(images, found)
    rows, columns = np.indices(masks.shape[1:])
    np.testing.assert_array_equal(labels, np.asarray(masks)[of, rows, columns])
    for place, each in enumerate(of):
        assert set(np.unique(each)) - {place}, "something is of another"
        assert len(np.unique(each)) <= 2


def test_a_rectangle_is_cut_in_and_all_of_it():
    images, masks = told()
    of = origins(images, Augment(cutmix=1.0)(KEY, images, masks)[0])
    for place, each in enumerate(of):
        rows, columns = np.nonzero(each != place)
        assert (each[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] != place).all()


def test_objects_are_pasted_with_no_background_and_no_void():
    images, masks = told()
    of = origins(images, Augment(copy_paste=1.0)(KEY, images, masks)[0])
    for place, each in enumerate(of):
        (other,) = set(np.unique(each)) - {place}
        np.testing.assert_array_equal(each == other, np.isin(masks[other], [1, 2]))


@pytest.mark.parametrize("name", ["cutmix", "copy_paste"])
def test_the_probability_is_that(name):
    images, masks = told(256, (4, 4))
    of = origins(images, jax.jit(Augment(**{name: 0.3}))(KEY, images, masks)[0])
    changed = (of != np.arange(256)[:, None, None]).any(axis=(1, 2))
    assert changed.mean() == pytest.approx(0.3, abs=0.08)


def test_every_other_image_is_as_likely_and_never_the_same():
    keys = jax.random.split(KEY, 4000)
    others = np.asarray(jax.vmap(lambda key: partner(key, jnp.int32(2), 5))(keys))
    assert np.bincount(others, minlength=5) / 4000 == pytest.approx([0.25, 0.25, 0, 0.25, 0.25], abs=0.03)
    assert int(partner(KEY, jnp.int32(0), 1)) == 0


def test_rectangles_are_cutmixs():
    """Against the paper's rule, with lambda evenly in 0..1, in NumPy."""
    found = np.asarray(jax.vmap(lambda key: rectangle(key, 60, 40))(jax.random.split(KEY, 2000)))
    rng, shares, rows = np.random.default_rng(0), [], []
    for _ in range(20000):
        cut = np.sqrt(1 - rng.random())
        y, x = rng.random(2)
        heights, widths = (np.clip([c - cut / 2, c + cut / 2], 0, 1) for c in (y, x))
        shares.append(np.diff(heights)[0] * np.diff(widths)[0])
        rows.append(heights[0] <= 0.25 <= heights[1])
    assert found.mean() == pytest.approx(np.mean(shares), abs=0.02)
    assert np.quantile(found.mean((1, 2)), [0.25, 0.75]) == pytest.approx(np.quantile(shares, [0.25, 0.75]), abs=0.03)
    assert found[:, 15].any(axis=1).mean() == pytest.approx(np.mean(rows), abs=0.04)


def test_eight_devices_give_the_same():
    images, masks = told()
    augment = Augment(flip=0.5, brightness=0.3, cutmix=0.7, copy_paste=0.7)
    expected = jax.jit(augment)(KEY, images, masks)
    layout = NamedSharding(Mesh(np.array(jax.devices()), ("batch",)), PartitionSpec("batch"))
    shared = jax.jit(augment, in_shardings=(None, layout, layout), out_shardings=layout)(KEY, images, masks)
    for ours, theirs in zip(shared, expected, strict=True):
        assert len(ours.sharding.device_set) == 8
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_mixing_leaves_the_other_changes_as_they_are():
    images, masks = told()
    plain = Augment(flip=0.5, brightness=0.3)(KEY, images, masks)
    none = Augment(flip=0.5, brightness=0.3, copy_paste=1.0)(KEY, images, masks * 0)
    np.testing.assert_allclose(none[0], plain[0], atol=1e-6)


def test_what_is_mixed_has_its_shape_changed_before():
    images, masks = told()
    of = Augment(flip=1.0, copy_paste=1.0)(KEY, images, masks)
    flipped = (images[:, :, ::-1], masks[:, :, ::-1])
    direct = Augment(copy_paste=1.0)(KEY, *flipped)
    for ours, theirs in zip(of, direct, strict=True):
        np.testing.assert_array_equal(ours, theirs)
