"""From one level's size to the next one's."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Float32

from jaxseg.models.convolution import Precision, uniform_of_fan_in


class UpConv(nn.Module):
    """The transposed convolution 2x2 with stride 2.

    Its windows do not overlap, so it is one matrix product and a reshape: 1.2 to 1.3 times the training speed on a CPU.
    The reordering of pixels is kept out of the product, whose gradients would else be products of transposed copies,
    2.5 times as slow.
    """

    features: int
    dtype: Precision

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width _"]) -> Float[Array, "batch 2*height 2*width features"]:
        batch, height, width, channels = x.shape
        init = uniform_of_fan_in(2 * 2 * self.features)  # as PyTorch counts it: over the outputs
        kernel = self.param("kernel", init, (2, 2, channels, self.features), jnp.float32)
        bias = self.param("bias", init, (self.features,), jnp.float32)
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        x = jnp.dot(x, kernel.transpose(2, 0, 1, 3).reshape(channels, -1))
        x = jax.lax.optimization_barrier(x).reshape(batch, height, width, 2, 2 * self.features).swapaxes(2, 3)
        return x.reshape(batch, 2 * height, 2 * width, self.features) + bias[None, None, None]


@jax.custom_vjp
def max_pool(x: Float[Array, "batch height width c"]) -> Float[Array, "batch _ _ c"]:
    """The largest of each four pixels; an odd row or column at the end is left out.

    Of equal ones the first takes the gradient, as in PyTorch, and as XLA's own gradient has it: that took a tenth of
    the training step on a CPU, 14 to 40 times as long as this. It has no forward-mode derivative.
    """
    return nn.max_pool(x, (2, 2), strides=(2, 2))


def pooled(x: Array) -> tuple[Array, Array]:
    return max_pool(x), x


def unpooled(x: Array, gradient: Array) -> tuple[Array]:
    """The four are compared with one another: a compiled program may round them otherwise than the largest it kept."""
    batch, height, width, channels = gradient.shape
    fours = x[:, : 2 * height, : 2 * width].reshape(batch, height, 2, width, 2, channels)
    (a, b), (c, d) = [[fours[:, :, row, :, column] for column in range(2)] for row in range(2)]
    first = jnp.where(jnp.maximum(a, b) >= jnp.maximum(c, d), jnp.where(a >= b, 0, 1), jnp.where(c >= d, 2, 3))
    place = jnp.arange(4).reshape(1, 1, 2, 1, 2, 1)
    taken = jnp.where(first[:, :, None, :, None] == place, gradient[:, :, None, :, None], 0)
    left_out = ((0, side - 2 * half) for side, half in zip(x.shape[1:3], (height, width), strict=True))
    return (jnp.pad(taken.reshape(batch, 2 * height, 2 * width, channels), ((0, 0), *left_out, (0, 0))),)


max_pool.defvjp(pooled, unpooled)


def upsample_bilinear(x: Float[Array, "batch height width c"], corners: bool) -> Float[Array, "batch _ _ c"]:
    """Twice the height and width, as PyTorch's bilinear `Upsample`; `corners` is its `align_corners`."""
    vertical, horizontal = (interpolation(side, corners).astype(x.dtype) for side in x.shape[1:3])
    return jnp.einsum("bhwc,yh,xw->byxc", x, vertical, horizontal)


def interpolation(side: Any, corners: bool) -> Float32[Array, "_ _"]:
    """The matrix, (2 * side, side), that interpolates `side` values linearly to twice as many; `side` may be symbolic.

    Distances are whole numbers until the last division, so that float32 loses nothing.
    """
    place, source = jnp.arange(2 * side)[:, None], jnp.arange(side)[None]
    if corners:
        distance = jnp.abs(place * (side - 1) - source * (2 * side - 1)) / (2 * side - 1)
    else:
        distance = jnp.abs(jnp.clip(2 * place - 1, 0, 4 * (side - 1)) - 4 * source) / 4
    return jnp.maximum(0, 1 - distance).astype(jnp.float32)


def pad_to(x: Float[Array, "batch _ _ c"], height: int, width: int) -> Float[Array, "batch height width c"]:
    """Zeros around, the odd one after: where a pooling cut an odd side."""
    missing = (height - x.shape[1], width - x.shape[2])
    return jnp.pad(x, ((0, 0), *((n // 2, n - n // 2) for n in missing), (0, 0))) if any(missing) else x
