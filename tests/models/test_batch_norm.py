"""Batch normalisation: flax's and the formula's numbers, gradients and statistics, without void pixels."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.models.batch_norm import BatchNorm

SHAPE = (3, 5, 4, 6)


def drawn(seed=0, mean=0.0):
    rng = np.random.default_rng(seed)
    x, upstream = rng.normal(mean, 1, SHAPE).astype(np.float32), rng.normal(size=SHAPE).astype(np.float32)
    valid = rng.random((*SHAPE[:3], 1)) < 0.7
    variables = {
        "params": {"scale": rng.uniform(0.5, 2, 6), "bias": rng.normal(size=6)},
        "batch_stats": {"mean": rng.normal(mean, 1, 6), "var": rng.uniform(0.5, 2, 6)},
    }
    return jax.tree.map(jnp.float32, variables), jnp.asarray(x), jnp.asarray(valid), jnp.asarray(upstream)


def run(apply):
    """Output, statistics, and what is pulled back to the parameters and to x."""

    @jax.jit
    def both(variables, x, upstream):
        def output(params, x):
            return apply({**variables, "params": params}, x)

        y, pull, kept = jax.vjp(output, variables["params"], x, has_aux=True)
        return y, kept["batch_stats"], pull(upstream.astype(y.dtype))

    return both


def ours(valid, dtype="float32"):
    layer = BatchNorm(1e-3, dtype)
    return run(lambda v, x: layer.apply(v, x, valid, True, mutable=["batch_stats"]))


def flax(valid, dtype="float32"):
    layer = nn.BatchNorm(False, momentum=0.9, epsilon=1e-3, dtype=jnp.dtype(dtype))
    with jax.numpy_rank_promotion("allow"):
        return run(lambda v, x: layer.apply(v, x, mask=valid, mutable=["batch_stats"]))


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_flaxs(masked):
    variables, x, valid, upstream = drawn()
    valid = valid if masked else None
    found, expected = (layer(valid)(variables, x, upstream) for layer in (ours, flax))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), found, expected)


def test_in_half_precision_it_is_flaxs_to_a_rounding():
    variables, x, valid, upstream = drawn()
    found, expected = (layer(valid, "bfloat16")(variables, x.astype("bfloat16"), upstream) for layer in (ours, flax))
    assert found[0].dtype == found[2][1].dtype == jnp.bfloat16
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a.astype("float32"), b.astype("float32"), rtol=0.02, atol=0.02),
        found,
        expected,
    )


def test_far_from_zero_nothing_is_lost_once_the_running_mean_is_near():
    """Squares of numbers near 1000 leave float32 nothing of a variance of 1."""
    variables, x, valid, upstream = drawn(mean=1000.0)
    y, statistics, _ = ours(valid)(variables, x, upstream)
    exact = np.asarray(x, np.float64)
    where = np.broadcast_to(valid, SHAPE)
    mean, variance = (f(exact, axis=(0, 1, 2), where=where) for f in (np.mean, np.var))
    expected = 0.9 * np.asarray(variables["batch_stats"]["var"]) + 0.1 * variance
    np.testing.assert_allclose(statistics["var"], expected, rtol=1e-5)
    scale, bias = (np.asarray(variables["params"][name], np.float64) for name in ("scale", "bias"))
    np.testing.assert_allclose(y, (exact - mean) / np.sqrt(variance + 1e-3) * scale + bias, rtol=1e-4, atol=2e-4)


def test_void_pixels_move_nothing_and_take_a_gradient():
    variables, x, valid, upstream = drawn()
    moved = jnp.where(valid, x, x + 100)
    (y, kept, (params, _)), (other, same, (again, by_moved)) = (ours(valid)(variables, a, upstream) for a in (x, moved))
    np.testing.assert_array_equal(*(np.where(valid, a, 0) for a in (y, other)))
    jax.tree.map(np.testing.assert_array_equal, kept, same)
    np.testing.assert_array_equal(params["bias"], again["bias"])
    inverse = 1 / np.sqrt(np.var(np.asarray(x, np.float64), axis=(0, 1, 2), where=np.broadcast_to(valid, SHAPE)) + 1e-3)
    alone = np.asarray(upstream) * inverse * np.asarray(variables["params"]["scale"])
    np.testing.assert_allclose(*(np.where(valid, 0, a) for a in (by_moved, alone)), rtol=1e-5)


def test_a_batch_without_a_valid_pixel_stays_finite():
    variables, x, valid, upstream = drawn()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(ours(valid & False)(variables, x, upstream)))


def test_outside_training_it_is_the_running_statistics():
    variables, x, _, _ = drawn()
    layer = BatchNorm(1e-3, "float32")
    mean, variance = (np.asarray(variables["batch_stats"][name], np.float64) for name in ("mean", "var"))
    expected = (np.asarray(x, np.float64) - mean) / np.sqrt(variance + 1e-3) * np.asarray(variables["params"]["scale"])
    found = jax.jit(lambda x: layer.apply(variables, x, None, False))(x)
    np.testing.assert_allclose(found, expected + np.asarray(variables["params"]["bias"]), rtol=1e-5, atol=1e-5)


def test_the_first_statistics_are_not_the_first_images():
    _, x, _, _ = drawn(mean=5.0)
    statistics = BatchNorm(1e-3, "float32").init(jax.random.key(0), x, None, True)["batch_stats"]
    np.testing.assert_array_equal(statistics["mean"], np.zeros(6))
    np.testing.assert_array_equal(statistics["var"], np.ones(6))
