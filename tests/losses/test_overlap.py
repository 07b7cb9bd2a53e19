"""Dice and Tversky are their formulas, in double precision and pixel by pixel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_pieces import random_batch

from jaxseg.losses import Dice, Tversky


def formula(logits, mask, valid, false_positives, false_negatives, smooth, per_image, power=1.0):
    """Loops over groups and classes; the last image is padding."""
    logits, mask, valid = (np.asarray(a) for a in (logits, mask, valid))
    logits = logits.astype(np.float64)
    if logits.shape[-1] == 1:
        probability = 1 / (1 + np.exp(-logits))
    else:
        probability = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        probability = probability[..., 1:]
    groups = [[image] for image in range(len(mask)) if valid[image].any()] if per_image else [range(len(mask))]
    losses = []
    for group in groups:
        for label in range(1, probability.shape[-1] + 1):
            tp = fp = fn = 0.0
            for image in group:
                truth, p = (mask[image] == label)[valid[image]], probability[image, ..., label - 1][valid[image]]
                tp, fp, fn = tp + p[truth].sum(), fp + p[~truth].sum(), fn + (1 - p[truth]).sum()
            index = (tp + smooth) / (tp + false_positives * fp + false_negatives * fn + smooth)
            losses.append((1 - index) ** power)
    return np.mean(losses)


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_each_is_its_formula(classes, per_image):
    batch = random_batch(classes, classes)
    tversky = Tversky(0.2, 0.9, power=1.5, smooth=3.0, per_image=per_image)
    assert float(tversky(*batch)) == pytest.approx(formula(*batch, 0.2, 0.9, 3.0, per_image, 1.5), rel=1e-5)
    dice = Dice(smooth=2.0, per_image=per_image)
    assert float(dice(*batch)) == pytest.approx(formula(*batch, 0.5, 0.5, 1.0, per_image), rel=1e-5)
    assert float(Tversky(per_image=True)(*batch)) != float(Tversky(per_image=False)(*batch))


def test_dice_of_certain_predictions_is_dice_of_sets():
    rng = np.random.default_rng(3)
    truth, predicted = rng.random((2, 1, 30, 30)) < 0.3
    logits = jnp.where(predicted, 50.0, -50.0)[..., None]
    expected = 1 - 2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())
    loss = Dice(smooth=1e-9)(logits, jnp.asarray(truth, jnp.uint8), jnp.ones((1, 30, 30), bool))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_an_absent_class_costs_what_is_predicted_of_it():
    nothing, valid = jnp.zeros((1, 10, 10), jnp.uint8), jnp.ones((1, 10, 10), bool)
    logits = jnp.full((1, 10, 10, 1), -50.0)
    assert float(Dice()(logits, nothing, valid)) == pytest.approx(0, abs=1e-6)
    assert float(Dice()(-logits, nothing, valid)) == pytest.approx(1 - 1 / 101, rel=1e-5)
    assert float(jax.grad(lambda level: Dice()(logits * 0 + level, nothing, valid))(0.0)) > 0


def test_missed_pixels_cost_more_than_false_ones_if_asked():
    mask, valid = jnp.zeros((1, 10, 10), jnp.uint8).at[0, :5].set(1), jnp.ones((1, 10, 10), bool)
    confident = jnp.where(mask == 1, 50.0, -50.0)[..., None]
    missed, false = confident.at[0, 0].set(-50.0), confident.at[0, 5].set(50.0)
    loss = Tversky(0.1, 0.9, smooth=1e-9)
    assert float(loss(missed, mask, valid)) == pytest.approx(1 - 40 / 49, rel=1e-4)
    assert float(loss(false, mask, valid)) == pytest.approx(1 - 50 / 51, rel=1e-4)
