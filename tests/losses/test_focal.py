"""The focal loss is its formula, and between the limits that the paper names."""

import jax.numpy as jnp
import numpy as np
import pytest
from loss_pieces import random_batch

from jaxseg.losses import CrossEntropy, Focal


@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_it_is_its_formula(classes, gamma, alpha):
    logits, mask, valid = random_batch(classes, classes)
    exact = np.asarray(logits, np.float64)
    if classes == 2:
        exact = np.concatenate([np.zeros_like(exact), exact], axis=-1)
    probability = np.exp(exact) / np.exp(exact).sum(axis=-1, keepdims=True)
    labels, counts = np.asarray(mask), np.asarray(valid)
    p = np.take_along_axis(probability, np.where(counts, labels, 0)[..., None].astype(int), -1)[..., 0][counts]
    weight = 1 if alpha is None else np.where(labels[counts] > 0, alpha, 1 - alpha)
    expected = (weight * (1 - p) ** gamma * -np.log(p)).mean()
    assert float(Focal(gamma, alpha)(logits, mask, valid)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("classes", [2, 4])
def test_without_gamma_it_is_the_cross_entropy(classes):
    batch = random_batch(5, classes)
    assert float(Focal(gamma=0.0)(*batch)) == pytest.approx(float(CrossEntropy()(*batch)), rel=1e-6)


def test_an_easy_pixel_counts_less():
    """At p = 0.9 a gamma of 2 leaves a hundredth of the cross-entropy: the paper's own example."""
    logits = jnp.full((1, 1, 1, 1), np.log(9.0))
    batch = logits, jnp.ones((1, 1, 1), jnp.uint8), jnp.ones((1, 1, 1), bool)
    assert float(Focal()(*batch)) == pytest.approx(float(CrossEntropy()(*batch)) / 100, rel=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_pixel_that_is_all_but_certain_keeps_its_digits(classes):
    """Of 1 - p = 2e-4 the square, times the cross-entropy."""
    margin = 8.5
    logits = np.zeros((1, 1, 1, classes if classes > 2 else 1), np.float32)
    logits[..., -1] = margin
    missed = (classes - 1) / (classes - 1 + np.exp(margin))
    mask = jnp.full((1, 1, 1), classes - 1, jnp.uint8)
    found = float(Focal()(jnp.asarray(logits), mask, jnp.ones((1, 1, 1), bool)))
    assert found == pytest.approx(missed**2 * -np.log1p(-missed), rel=1e-3)
