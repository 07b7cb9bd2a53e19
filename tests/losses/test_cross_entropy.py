"""The loss is PyTorch's on the valid pixels, and nothing elsewhere reaches it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_pieces import random_batch
from torch_unet import needs_torch, torch

from jaxseg.arrays import VOID, Batch
from jaxseg.errors import InputError
from jaxseg.losses import CrossEntropy, masked_mean, valid_pixels

LOSS = CrossEntropy()


def value_and_gradient(logits, mask, valid):
    value, gradient = jax.value_and_grad(LOSS)(logits, mask, valid)
    return float(value), np.asarray(gradient)


def test_valid_pixels_are_those_that_are_not_void_in_samples_that_weigh():
    mask = jnp.asarray([[[0, VOID, 3]], [[1, 1, 1]]], jnp.uint8)
    batch = Batch(jnp.zeros((2, 1, 3, 3), jnp.uint8), mask, jnp.asarray([1, 0], jnp.float32))
    assert valid_pixels(batch).tolist() == [[[True, False, True]], [[False, False, False]]]


@needs_torch
@pytest.mark.parametrize("spread", [0.1, 3, 60])
@pytest.mark.parametrize("classes", [2, 3, 21])
def test_value_and_gradient_are_torchs_on_the_valid_pixels(classes, spread):
    logits, mask, valid = random_batch(classes, classes, spread=spread)
    value, gradient = value_and_gradient(logits, mask, valid)

    theirs = torch.tensor(np.asarray(logits), requires_grad=True)
    labels = torch.from_numpy(np.where(np.asarray(valid), np.asarray(mask), VOID).astype(np.int64))
    if classes == 2:
        kept = labels != VOID
        loss = torch.nn.BCEWithLogitsLoss()(theirs[..., 0][kept], labels[kept].float())
    else:
        loss = torch.nn.functional.cross_entropy(theirs.permute(0, 3, 1, 2), labels, ignore_index=VOID)
    loss.backward()
    assert value == pytest.approx(float(loss.detach()), rel=2e-6)
    np.testing.assert_allclose(gradient, theirs.grad.numpy(), rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("classes", [2, 4])
def test_pixels_that_do_not_count_have_no_influence(classes):
    logits, mask, valid = random_batch(1, classes)
    garbage = jnp.where(valid[..., None], logits, 1e4 * jnp.sign(logits))
    wrong = jnp.where(valid | (mask == VOID), mask, (mask + 1) % classes).astype(jnp.uint8)
    expected, expected_gradient = value_and_gradient(logits, mask, valid)
    value, gradient = value_and_gradient(garbage, wrong, valid)
    assert value == expected
    np.testing.assert_array_equal(gradient, expected_gradient)
    assert not gradient[~np.asarray(valid)].any()
    assert np.abs(gradient[np.asarray(valid)]).min() > 0


@pytest.mark.parametrize("classes", [2, 4])
def test_nothing_valid_gives_zero_and_zero_gradients(classes):
    logits, mask, valid = random_batch(2, classes, spread=1e3)
    value, gradient = value_and_gradient(logits, mask, jnp.zeros_like(valid))
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_extreme_logits_stay_finite_and_right(channels, dtype):
    """Surely right costs nothing; surely wrong costs the logits' difference. A sigmoid would be 0 or 1 here."""
    high = 1e4
    mask = jnp.asarray([[[0, 1]]], jnp.uint8)
    logits = jnp.asarray([-high, high])[None, None, :, None]  # one logit: right at both pixels
    if channels == 3:
        logits = jax.nn.one_hot(mask, 3) * high
    valid = jnp.ones((1, 1, 2), bool)
    right, gradient = value_and_gradient(logits.astype(dtype), mask, valid)
    wrong, wrong_gradient = value_and_gradient(logits.astype(dtype), 1 - mask, valid)
    assert right == 0
    assert not gradient.any()
    assert wrong == pytest.approx(high, rel=0.01)
    assert np.isfinite(wrong_gradient.astype(np.float32)).all()


@pytest.mark.parametrize("classes", [2, 3, 80])
def test_uniform_logits_cost_the_logarithm_of_the_classes(classes):
    logits, mask, valid = random_batch(3, classes)
    for level in (0.0, 7.0) if classes > 2 else (0.0,):
        assert float(LOSS(jnp.full_like(logits, level), mask, valid)) == pytest.approx(math.log(classes), rel=1e-6)


def test_one_logit_is_two_of_which_the_background_is_zero():
    logits, mask, valid = random_batch(4, 2)
    pair = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
    assert float(LOSS(logits, mask, valid)) == pytest.approx(float(LOSS(pair, mask, valid)), rel=1e-6)


def test_renaming_the_classes_changes_nothing():
    logits, mask, valid = random_batch(5, 4)
    order = np.asarray([2, 0, 3, 1])
    renamed = jnp.where(mask == VOID, mask, jnp.asarray(np.argsort(order), jnp.uint8)[jnp.minimum(mask, 3)])
    assert float(LOSS(logits[..., order], renamed, valid)) == pytest.approx(float(LOSS(logits, mask, valid)), rel=1e-6)


def test_a_class_that_the_network_has_not_makes_the_loss_nan():
    logits, mask, valid = random_batch(6, 3)
    assert math.isnan(float(LOSS(logits, mask.at[0, 0, 0].set(3), valid.at[0, 0, 0].set(True))))


def test_half_precision_logits_lose_no_more_than_their_own_rounding():
    logits, mask, valid = random_batch(7, 5)
    rounded = logits.astype(jnp.bfloat16)
    assert LOSS(rounded, mask, valid).dtype == jnp.float32
    assert float(LOSS(rounded, mask, valid)) == float(LOSS(rounded.astype(jnp.float32), mask, valid))


def test_the_mean_of_millions_of_pixels_keeps_its_digits():
    values = np.random.default_rng(0).random((3, 1200, 1000)).astype(np.float32)
    valid = values < 0.9
    mean = float(jax.jit(masked_mean)(jnp.asarray(values), jnp.asarray(valid)))
    assert mean == pytest.approx(values[valid].astype(np.float64).mean(), rel=1e-6)


@needs_torch
@pytest.mark.parametrize("classes", [2, 4])
def test_pos_weight_is_torchs(classes):
    """PyTorch's weighted mean over several classes divides by the weights; ours by the pixels, as its binary one."""
    logits, mask, valid = random_batch(8, classes)
    weights = [3.5] if classes == 2 else [3.5, 0.2, 40.0]
    loss = CrossEntropy(pos_weight=weights[0] if classes == 2 else tuple(weights))
    kept = torch.from_numpy(np.asarray(valid).copy())
    theirs, labels = torch.tensor(np.asarray(logits))[kept], torch.from_numpy(np.asarray(mask).astype(np.int64))[kept]
    if classes == 2:
        expected = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weights))(theirs[:, 0], labels.float())
    else:
        each = torch.nn.functional.cross_entropy(theirs, labels, torch.tensor([1.0, *weights]), reduction="none")
        expected = each.mean()
    assert float(loss(logits, mask, valid)) == pytest.approx(float(expected), rel=2e-6)
    if classes > 2:
        even = CrossEntropy(pos_weight=3.5)(logits, mask, valid)
        assert float(even) == float(CrossEntropy(pos_weight=(3.5,) * 3)(logits, mask, valid)) != float(expected)


@needs_torch
@pytest.mark.parametrize("classes", [2, 4])
def test_label_smoothing_is_torchs(classes):
    logits, mask, valid = random_batch(9, classes)
    kept = torch.from_numpy(np.asarray(valid).copy())
    theirs, labels = torch.tensor(np.asarray(logits))[kept], torch.from_numpy(np.asarray(mask).astype(np.int64))[kept]
    if classes == 2:  # of two logits, the first 0
        theirs = torch.cat([torch.zeros_like(theirs), theirs], dim=1)
    expected = torch.nn.functional.cross_entropy(theirs, labels, label_smoothing=0.3)
    assert float(CrossEntropy(label_smoothing=0.3)(logits, mask, valid)) == pytest.approx(float(expected), rel=2e-6)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_pixels_near_another_class_count_more(width):
    rng = np.random.default_rng(width)
    logits, mask, valid = random_batch(10, 3, size=(3, 20, 17))
    mask = jnp.asarray(np.where(rng.random((3, 20, 17)) < 0.05, 1, np.where(rng.random((3, 20, 17)) < 0.03, VOID, 0)))
    mask = mask.astype(jnp.uint8)
    valid = valid & (mask != VOID)
    near, labels, counts = np.zeros(mask.shape, bool), np.asarray(mask), np.asarray(valid)
    for image, row, column in np.ndindex(mask.shape):
        rows, columns = slice(max(0, row - width), row + width + 1), slice(max(0, column - width), column + width + 1)
        others = (labels[image, rows, columns] != labels[image, row, column]) & counts[image, rows, columns]
        near[image, row, column] = others.any()
    assert 0.05 < near[counts].mean() < 0.95
    plain, weighted = (
        np.asarray(jax.grad(CrossEntropy(boundary_weight=weight, boundary_width=width))(logits, mask, valid))[counts]
        for weight in (0.0, 4.0)
    )
    np.testing.assert_allclose(weighted, plain * np.where(near[counts], 5, 1)[:, None], rtol=1e-5, atol=1e-8)


def test_auto_makes_each_class_weigh_as_much_as_the_background():
    assert CrossEntropy("auto").measured(np.array([900, 100])).pos_weight == 9
    loss = CrossEntropy("auto", label_smoothing=0.1).measured(np.array([900, 100, 30, 0]))
    assert (loss.pos_weight, loss.label_smoothing) == ((9.0, 30.0, 1.0), 0.1)
    assert CrossEntropy("auto").measured(np.array([0, 100, 50])).pos_weight == (1.0, 2.0)
    assert CrossEntropy(2.0).measured(np.array([900, 100])) == CrossEntropy(2.0)


def test_weights_that_can_not_be_used_are_told():
    logits, mask, valid = random_batch(11, 3)
    with pytest.raises(InputError, match="measure it first"):
        CrossEntropy("auto")(logits, mask, valid)
    with pytest.raises(InputError, match="has 3 numbers; the network tells 2 classes"):
        CrossEntropy((1.0, 2.0, 3.0))(logits, mask, valid)
