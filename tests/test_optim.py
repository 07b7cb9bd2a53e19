"""The optimiser does what its paper, and PyTorch, do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from torch_unet import needs_torch, torch

from jaxseg.optim import Adam


def run(settings: Adam, params, gradients):
    """The parameters after each gradient."""
    optimizer = settings.build()
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        yield params


@needs_torch
@pytest.mark.parametrize(
    "settings", [Adam(), Adam(learning_rate=3e-2, b1=0.7, b2=0.95, eps=1e-3)], ids=["default", "other"]
)
def test_the_trajectory_is_torchs(settings):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(20,)).astype(np.float32)
    gradients = (rng.normal(size=(30, 20)) * 10.0 ** rng.integers(-6, 3, 20)).astype(np.float32)
    theirs = torch.tensor(start, requires_grad=True)
    optimizer = torch.optim.Adam(
        [theirs], lr=settings.learning_rate, betas=(settings.b1, settings.b2), eps=settings.eps
    )
    for ours, gradient in zip(run(settings, jnp.asarray(start), jnp.asarray(gradients)), gradients, strict=True):
        theirs.grad = torch.from_numpy(gradient)
        optimizer.step()
        moved = theirs.detach().numpy() - start
        np.testing.assert_allclose(np.asarray(ours) - start, moved, rtol=1e-4, atol=3e-7)


def test_the_first_step_has_the_length_of_the_learning_rate_whatever_the_gradient():
    gradient = jnp.asarray([1e-3, -1e-3, 5.0, -1e6])
    (after,) = run(Adam(learning_rate=0.1), jnp.zeros(4), [gradient])
    np.testing.assert_allclose(after, -0.1 * np.sign(gradient), rtol=1e-4)


def test_a_zero_gradient_at_the_start_moves_nothing():
    (after,) = run(Adam(), jnp.ones(3), [jnp.zeros(3)])
    np.testing.assert_array_equal(after, 1)


def test_it_finds_the_lowest_point_of_a_bowl():
    target = jnp.asarray([3.0, -2.0])
    optimizer = Adam(learning_rate=0.1).build()

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(lambda p: ((p - target) ** 2).sum())(params), state, params)
        return optax.apply_updates(params, updates), state

    params, state = jnp.zeros(2), optimizer.init(jnp.zeros(2))
    for _ in range(300):
        params, state = step(params, state)
    np.testing.assert_allclose(params, target, atol=1e-2)
