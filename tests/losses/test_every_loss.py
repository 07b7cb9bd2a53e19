"""What holds of every loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from loss_pieces import random_batch

from jaxseg.arrays import VOID
from jaxseg.errors import InputError
from jaxseg.losses import CrossEntropy, Dice, Focal, Lovasz, Sum, Tversky, with_measured

LOSSES = (
    CrossEntropy(),
    CrossEntropy(pos_weight=7.0, label_smoothing=0.1, boundary_weight=2.0),
    Dice(),
    Dice(per_image=True),
    Tversky(power=1.3),
    Focal(),
    Focal(gamma=0.5, alpha=0.7),
    Lovasz(),
    Lovasz(per_image=False),
    Sum(),
)
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
binary_or_not = pytest.mark.parametrize("classes", [2, 4])


@every_loss
@binary_or_not
def test_pixels_that_do_not_count_have_no_influence(loss, classes):
    logits, mask, valid = random_batch(1, classes)
    garbage = jnp.where(valid[..., None], logits, 1e4 * jnp.sign(logits))
    wrong = jnp.where(valid | (mask == VOID), mask, (mask + 1) % classes).astype(jnp.uint8)
    compiled = jax.jit(jax.value_and_grad(loss))
    expected, expected_gradient = compiled(logits, mask, valid)
    value, gradient = compiled(garbage, wrong, valid)
    assert float(value) == float(expected)
    np.testing.assert_array_equal(gradient, expected_gradient)
    assert not np.asarray(gradient)[~np.asarray(valid)].any()
    assert np.asarray(gradient)[np.asarray(valid)].any()


@every_loss
@binary_or_not
def test_nothing_valid_gives_zero_and_zero_gradients(loss, classes):
    logits, mask, valid = random_batch(2, classes, spread=1e3)
    value, gradient = jax.value_and_grad(loss)(logits, mask, jnp.zeros_like(valid))
    assert float(value) == 0
    assert not np.asarray(gradient).any()


@every_loss
@binary_or_not
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_extreme_logits_stay_finite(loss, classes, dtype):
    logits, mask, valid = random_batch(3, classes)
    for level in (0.0, 1e4):
        value, gradient = jax.value_and_grad(loss)((jnp.sign(logits) * level).astype(dtype), mask, valid)
        assert value.dtype == jnp.float32
        assert np.isfinite(float(value))
        assert np.isfinite(np.asarray(gradient, np.float32)).all()


@every_loss
@binary_or_not
def test_a_certain_and_right_prediction_is_the_best(loss, classes):
    logits, mask, valid = random_batch(4, classes)
    right = jnp.sign((mask == 1) - 0.5)[..., None] if classes == 2 else jax.nn.one_hot(mask, classes)
    best = float(loss(6.0 * right, mask, valid))
    assert best < float(loss(logits, mask, valid))
    assert best < float(loss(-6.0 * right, mask, valid))
    smoothed = isinstance(loss, CrossEntropy) and loss.label_smoothing
    assert smoothed or float(loss(1e3 * right, mask, valid)) == pytest.approx(0, abs=1e-6)


@every_loss
@binary_or_not
def test_the_gradient_is_that_of_finite_differences(loss, classes):
    logits, mask, valid = random_batch(5, classes, spread=1.0, size=(3, 4, 5))
    direction = np.random.default_rng(0).normal(size=logits.shape).astype(np.float32)
    slope = float((jax.grad(loss)(logits, mask, valid) * direction).sum())
    values = [float(loss(logits + sign * 1e-3 * direction, mask, valid)) for sign in (1, -1)]
    assert slope == pytest.approx((values[0] - values[1]) / 2e-3, rel=0.02, abs=3e-4)


@every_loss
def test_eight_devices_give_what_one_gives(loss):
    logits, mask, valid = random_batch(6, 2, size=(8, 7, 5))
    layout = NamedSharding(Mesh(np.array(jax.devices()), ("batch",)), PartitionSpec("batch"))
    shared = jax.jit(loss, in_shardings=layout)(logits, mask, valid)
    assert float(shared) == pytest.approx(float(loss(logits, mask, valid)), rel=1e-6)


def test_a_sum_weighs_its_terms():
    batch = random_batch(7, 2)
    loss = Sum((CrossEntropy(), Lovasz(), Focal()), weights=(2.0, 0.5, 0.0))
    expected = 2 * CrossEntropy()(*batch) + 0.5 * Lovasz()(*batch)
    assert float(loss(*batch)) == pytest.approx(float(expected), rel=1e-6)
    with pytest.raises(InputError, match="2 numbers for 1 terms"):
        Sum((Dice(),), weights=(1.0, 2.0))(*batch)


def test_auto_is_measured_inside_a_sum():
    loss = Sum((CrossEntropy("auto"), Dice()), weights=(1.0, 0.5))
    assert with_measured(loss, np.array([80, 20])) == Sum((CrossEntropy(4.0), Dice()), (1.0, 0.5))
    assert with_measured(Dice(), np.array([80, 20])) == Dice()
