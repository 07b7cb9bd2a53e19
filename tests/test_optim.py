"""The optimiser does what its paper, and PyTorch, do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from torch_unet import flat, needs_torch, torch

from jaxseg.models.unet import UNet
from jaxseg.optim import SGD, Adam, AdamW, Lamb, rates, transformation
from jaxseg.schedules import Constant, Cosine, OneCycle, Polynomial, Schedule


def run(optimizer, params, gradients):
    """The parameters after each gradient."""
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        yield params


SAME = {
    Adam(): (torch and torch.optim.Adam, {}),
    Adam(learning_rate=3e-2, b1=0.7, b2=0.95, eps=1e-3): (torch and torch.optim.Adam, {}),
    AdamW(): (torch and torch.optim.AdamW, {}),
    AdamW(weight_decay=0.5): (torch and torch.optim.AdamW, {}),
    SGD(): (torch and torch.optim.SGD, {"momentum": 0.9}),
    SGD(1e-3, momentum=0.5, nesterov=True, weight_decay=0.1): (
        torch and torch.optim.SGD,
        {"momentum": 0.5, "nesterov": True},
    ),
}


@needs_torch
@pytest.mark.parametrize("settings", SAME, ids=str)
def test_the_trajectory_is_torchs(settings):
    """Of a matrix, and of a vector, which has no weight decay."""
    rng = np.random.default_rng(0)
    start = {"kernel": rng.normal(size=(5, 4)).astype(np.float32), "bias": rng.normal(size=6).astype(np.float32)}
    scale = {name: 10.0 ** rng.integers(-6, 3, value.shape) for name, value in start.items()}
    gradients = [
        {name: (rng.normal(size=value.shape) * scale[name]).astype(np.float32) for name, value in start.items()}
        for _ in range(30)
    ]
    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
    build, settings_of = SAME[settings]
    if isinstance(settings, Adam | AdamW):
        settings_of = {"betas": (settings.b1, settings.b2), "eps": settings.eps}
    decay = getattr(settings, "weight_decay", 0)
    groups = [{"params": [theirs["kernel"]], "weight_decay": decay}, {"params": [theirs["bias"]], "weight_decay": 0}]
    optimizer = build(groups, lr=settings.learning_rate, **settings_of)
    for ours, gradient in zip(
        run(settings.build(), jax.tree.map(jnp.asarray, start), gradients), gradients, strict=True
    ):
        for name, value in theirs.items():
            value.grad = torch.from_numpy(gradient[name])
        optimizer.step()
        for name, value in theirs.items():
            rounding = 3e-7 if not decay else 30 * 6e-8  # of a number near 1, each step, where weights decay
            moved = value.detach().numpy() - start[name]
            np.testing.assert_allclose(ours[name] - start[name], moved, rtol=1e-4, atol=rounding)


def test_lamb_moves_each_tensor_by_its_own_length():
    """Its first step is the learning rate times the tensor's norm, whatever the gradients' scale."""
    params = {"a": jnp.full((3, 4), 2.0), "b": jnp.full((5, 2), 0.1)}
    gradients = {"a": jnp.full((3, 4), 1e-3), "b": jnp.full((5, 2), 50.0)}
    (after,) = run(Lamb(learning_rate=0.01, weight_decay=0.0).build(), params, [gradients])
    for name, value in params.items():
        length = jnp.linalg.norm(after[name] - value) / jnp.linalg.norm(value)
        assert float(length) == pytest.approx(0.01, rel=1e-3)


def test_lamb_is_its_formula():
    """Algorithm 2 of the paper, in float64, with numbers that are not the defaults."""
    rng, settings = np.random.default_rng(4), Lamb(0.02, weight_decay=0.3, b1=0.7, b2=0.95, eps=1e-2)
    weight = rng.normal(size=(5, 4))
    gradients = rng.normal(size=(6, 5, 4))
    *_, found = run(settings.build(), jnp.float32(weight), jnp.float32(gradients))
    mean, square = np.zeros((5, 4)), np.zeros((5, 4))
    for number, gradient in enumerate(gradients, 1):
        mean = 0.7 * mean + 0.3 * gradient
        square = 0.95 * square + 0.05 * gradient**2
        update = (mean / (1 - 0.7**number)) / (np.sqrt(square / (1 - 0.95**number)) + 1e-2) + 0.3 * weight
        weight = weight - 0.02 * update * np.linalg.norm(weight) / np.linalg.norm(update)
    np.testing.assert_allclose(found, weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [AdamW(0.1, 0.5), SGD(0.1, weight_decay=0.5), Lamb(0.1, 0.5)], ids=str)
def test_kernels_decay_and_biases_and_normalisations_do_not(settings):
    """Of a network: where no gradient moves them."""
    model = UNet((4, 8), out_channels=1, norm="batch")
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2, 2, 3)))["params"]
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    (after,) = run(settings.build(), params, [jax.tree.map(jnp.zeros_like, params)])
    moved = {path for path, leaf in flat(after).items() if not (np.asarray(leaf) == 1).all()}
    assert moved == {path for path in flat(params) if path.endswith("/kernel")}
    assert all((np.asarray(flat(after)[path]) < 1).all() for path in moved)


@needs_torch
def test_clipping_is_torchs():
    """A long gradient is scaled to the norm, a short one kept: over all tensors together."""
    rng = np.random.default_rng(1)
    start = {"a": rng.normal(size=(3, 2)).astype(np.float32), "b": rng.normal(size=4).astype(np.float32)}
    optimizer = transformation(SGD(0.1, momentum=0.0), Constant(), clip_norm=1.5, accumulate=1, steps=9, epochs=9)
    for size in (0.01, 100.0):
        gradient = {name: (size * rng.normal(size=value.shape)).astype(np.float32) for name, value in start.items()}
        theirs = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
        for name, value in theirs.items():
            value.grad = torch.from_numpy(gradient[name])
        torch.nn.utils.clip_grad_norm_(list(theirs.values()), 1.5)
        torch.optim.SGD(list(theirs.values()), lr=0.1).step()
        (ours,) = run(optimizer, start, [gradient])
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_accumulating_is_one_step_with_the_mean():
    rng = np.random.default_rng(2)
    start = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    gradients = jnp.asarray(rng.normal(size=(12, 4, 3)), jnp.float32)

    def of(accumulate: int, steps: int):
        return transformation(Adam(0.1), Cosine(), clip_norm=1.0, accumulate=accumulate, steps=steps, epochs=1)

    *_, accumulated = run(of(3, 12), start, gradients)
    *_, expected = run(of(1, 4), start, gradients.reshape(4, 3, 4, 3).mean(axis=1))
    np.testing.assert_allclose(accumulated, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(accumulated, list(run(of(1, 12), start, gradients))[-1], atol=1e-3)


def test_the_first_step_has_the_length_of_the_learning_rate_whatever_the_gradient():
    gradient = jnp.asarray([1e-3, -1e-3, 5.0, -1e6])
    (after,) = run(Adam(learning_rate=0.1).build(), jnp.zeros(4), [gradient])
    np.testing.assert_allclose(after, -0.1 * np.sign(gradient), rtol=1e-4)


def test_a_zero_gradient_at_the_start_moves_nothing():
    (after,) = run(Adam().build(), jnp.ones(3), [jnp.zeros(3)])
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


@pytest.mark.parametrize("schedule", [Constant(), Constant(1.0), Cosine(1.0, 0.1), OneCycle(), Polynomial()])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_rates_that_are_logged_are_those_of_the_updates(schedule: Schedule, accumulate: int) -> None:
    """Plain gradient descent on a gradient of ones moves by the rate."""
    settings = {"accumulate": accumulate, "steps": 6, "epochs": 3}
    optimizer = SGD(learning_rate=0.5, momentum=0.0)
    update = transformation(optimizer, schedule, clip_norm=None, **settings)
    params, state, moved = jnp.zeros(()), None, []
    state = update.init(params)
    step = jax.jit(update.update)
    for _ in range(18):
        change, state = step(jnp.ones(()), state, params)
        moved.append(-float(change))
    found = rates(optimizer, schedule, **settings)
    assert found.shape == (18 // accumulate,)
    assert moved[accumulate - 1 :: accumulate] == pytest.approx(found.tolist(), rel=1e-6)
