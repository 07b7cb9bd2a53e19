"""The convolution that the networks are made of, with PyTorch's initial weights."""

import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxseg.models import conv3x3

Precision = Literal["float32", "bfloat16", "float16"]


def uniform_of_fan_in(fan_in: int) -> jax.nn.initializers.Initializer:
    """PyTorch's default for convolutions, weight and bias: uniform in +-1/sqrt(fan_in)."""
    bound = 1 / math.sqrt(fan_in)

    def draw(key: Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Array:
        return jax.random.uniform(key, shape, dtype or jnp.float32, -bound, bound)

    return draw


def conv(
    features: int,
    size: int,
    x: Array,
    dtype: Precision,
    name: str,
    use_bias: bool = True,
    bias_init: jax.nn.initializers.Initializer | None = None,
) -> Array:
    init = uniform_of_fan_in(size * size * x.shape[-1])
    layer = nn.Conv(
        features,
        (size, size),
        use_bias=use_bias,
        dtype=jnp.dtype(dtype),
        kernel_init=init,
        bias_init=bias_init or init,
        name=name,
        conv_general_dilated=conv3x3.conv if size == 3 else None,
    )
    return layer(x)
