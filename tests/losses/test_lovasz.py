"""The Lovasz loss is the extension of the Jaccard loss: equal to it at the corners, and by its definition between."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loss_pieces import random_batch

from jaxseg.losses import Lovasz
from jaxseg.losses.lovasz import extension


def jaccard_loss(truth: np.ndarray, wrong: np.ndarray) -> float:
    """1 - IoU of the truth and the prediction that is wrong at these pixels."""
    predicted = truth ^ wrong
    union = (truth | predicted).sum()
    return 1 - (truth & predicted).sum() / union if union else 0.0


def by_definition(errors: np.ndarray, truth: np.ndarray) -> float:
    """The integral over levels t >= 0 of the Jaccard loss of the set of pixels whose error is above t."""
    levels = np.unique(np.concatenate([[0.0], errors[errors > 0]]))
    return sum((after - before) * jaccard_loss(truth, errors > before) for before, after in pairwise(levels))


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_integral_of_the_jaccard_loss(seed):
    rng = np.random.default_rng(seed)
    errors, truth = rng.normal(size=60).astype(np.float32), rng.random(60) < (0, 0.1, 0.5, 0.9, 1)[seed]
    found = float(extension(jnp.asarray(errors), jnp.asarray(truth)))
    assert found == pytest.approx(by_definition(errors, truth), rel=1e-5)
    corner = (errors > 0.5).astype(np.float32)
    assert float(extension(jnp.asarray(corner), jnp.asarray(truth))) == pytest.approx(jaccard_loss(truth, corner > 0))


@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_a_batch_is_the_mean_over_what_is_there(classes, per_image):
    logits, mask, valid = random_batch(6, classes, size=(4, 6, 5))
    mask = mask.at[1].set(jnp.where(mask[1] == 1, 0, mask[1]))  # an image without the first class
    labels, counts = np.asarray(mask), np.asarray(valid)
    if classes == 2:
        errors = [1 - np.asarray(logits)[..., 0] * np.where(labels == 1, 1, -1)]
    else:
        p = np.asarray(jax.nn.softmax(logits))
        errors = [np.abs((labels == label) - p[..., label]) for label in range(1, classes)]
    groups = [[image] for image in range(3)] if per_image else [[0, 1, 2]]  # the last image is padding
    losses = []
    for group in groups:
        found = []
        for label, error in enumerate(errors, 1):
            kept, truth = counts[group], labels[group] == label
            if classes == 2 or truth[kept].any():
                found.append(by_definition(error[group][kept], truth[kept]))
        losses.append(np.mean(found))
    loss = Lovasz(per_image=per_image)
    assert float(loss(logits, mask, valid)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_descent_on_it_finds_the_mask():
    _, mask, valid = random_batch(8, 2, size=(2, 8, 8))
    logits, slope = jnp.zeros((2, 8, 8, 1)), jax.jit(jax.grad(Lovasz()))
    for _ in range(60):
        logits -= 5.0 * slope(logits, mask, valid)
    np.testing.assert_array_equal((logits[..., 0] > 0)[valid], (mask == 1)[valid])
