"""Pooling and the transposed convolution, with their gradients, are PyTorch's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_unet import needs_torch, torch

from jaxseg.models.resample import UpConv, max_pool

SIZES = [(2, 6, 8, 3), (1, 7, 9, 16), (3, 2, 2, 5), (2, 1, 4, 2)]


def pulled_back(function, x, gradient):
    return jax.jit(lambda x, gradient: jax.vjp(function, x)[1](gradient)[0])(x, gradient)


def few_values(shape, seed=0):
    """Many of them equal, as after a rectifier."""
    return np.random.default_rng(seed).integers(-1, 3, shape).astype(np.float32)


@needs_torch
@pytest.mark.parametrize("shape", SIZES)
def test_pooling_is_torchs_where_values_are_equal_too(shape):
    x = few_values(shape)
    there = torch.tensor(x.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    if min(shape[1:3]) < 2:
        assert max_pool(jnp.asarray(x)).size == 0
        assert not pulled_back(max_pool, x, np.zeros((shape[0], 0, shape[2] // 2, shape[3]), np.float32)).any()
        return
    pooled = torch.nn.functional.max_pool2d(there, 2)
    gradient = np.random.default_rng(1).normal(size=pooled.permute(0, 2, 3, 1).shape).astype(np.float32)
    pooled.backward(torch.tensor(gradient.transpose(0, 3, 1, 2).copy()))
    assert there.grad is not None
    np.testing.assert_array_equal(max_pool(jnp.asarray(x)), pooled.detach().numpy().transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(pulled_back(max_pool, x, gradient), there.grad.numpy().transpose(0, 2, 3, 1))


@pytest.mark.parametrize("shape", SIZES[:3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_is_that_of_xla_bit_for_bit(shape, dtype):
    x = jnp.asarray(few_values(shape, 2), dtype)

    def plain(x):
        return nn.max_pool(x, (2, 2), strides=(2, 2))

    gradient = jnp.asarray(np.random.default_rng(3).normal(size=plain(x).shape), dtype)
    np.testing.assert_array_equal(pulled_back(max_pool, x, gradient), pulled_back(plain, x, gradient))
    batched = pulled_back(jax.vmap(max_pool), x[None], gradient[None])[0]
    np.testing.assert_array_equal(batched, pulled_back(max_pool, x, gradient))


def test_a_value_that_is_no_number_is_the_largest():
    x = jnp.asarray(few_values((1, 4, 4, 2))).at[0, 1, 0, 0].set(jnp.nan)
    assert np.isnan(max_pool(x)).sum() == 1


@needs_torch
def test_the_gradients_of_the_transposed_convolution():
    """Against double precision: float32 rounds sums of up to 140 products."""
    rng = np.random.default_rng(0)
    x, kernel, bias = (rng.normal(size=s).astype(np.float32) for s in ((2, 7, 5, 12), (2, 2, 12, 6), (6,)))
    gradient = rng.normal(size=(2, 14, 10, 6)).astype(np.float32)

    def apply(params, x):
        return UpConv(6, "float32").apply({"params": params}, x)

    ours = jax.jit(lambda *given: jax.vjp(apply, *given)[1](gradient))({"kernel": kernel, "bias": bias}, x)
    layer = torch.nn.ConvTranspose2d(12, 6, 2, stride=2).double()
    assert layer.bias is not None
    there = torch.tensor(x.transpose(0, 3, 1, 2).copy(), dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(kernel.transpose(2, 3, 0, 1)))
    layer(there).backward(torch.tensor(gradient.transpose(0, 3, 1, 2).copy(), dtype=torch.float64))
    assert there.grad is not None
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    np.testing.assert_allclose(ours[0]["kernel"], layer.weight.grad.numpy().transpose(2, 3, 0, 1), atol=2e-5)
    np.testing.assert_allclose(ours[0]["bias"], layer.bias.grad.numpy(), atol=2e-5)
    np.testing.assert_allclose(ours[1], there.grad.numpy().transpose(0, 2, 3, 1), atol=2e-5)
