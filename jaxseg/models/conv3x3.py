"""The convolution 3x3 with zeros around: on a CPU in the way that is fastest for its shape, elsewhere XLA's.

XLA's own on a CPU is slow where channels are many: it turns and copies the kernel for the gradient by the pixels, and
uses few of the cores. Which way is faster where was measured on two cores; all give the same sums, rounded otherwise.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32

from jaxseg.models.patches import by_product, by_shifts, input_by_product, kernel_by_product
from jaxseg.models.winograd import by_winograd, input_by_winograd, kernel_by_winograd

FORWARD, GRADIENT = 20, 10
"""Winograd's way pays where inputs * outputs / (inputs + outputs), in channels, is no less: there its products outweigh
its transforms. XLA's own gradient by the kernel is slower, and so is left sooner."""

FEW_INPUTS = 4
"""Such as an image's channels."""


def conv(x: Array, kernel: Array, strides: Any, padding: Any, **settings: Any) -> Array:
    """In place of `lax.conv_general_dilated` in a 3x3 `flax.linen.Conv` of stride 1 and padding "SAME"."""
    if x.dtype == jnp.float32 and all(isinstance(side, int) for side in x.shape):
        return conv3x3(x, kernel)
    return lax.conv_general_dilated(x, kernel, strides, padding, **settings)


@jax.custom_vjp
def conv3x3(
    x: Float32[Array, "batch height width inputs"], kernel: Float32[Array, "3 3 inputs outputs"]
) -> Float32[Array, "batch height width outputs"]:
    """The convolution; sizes must be known. It has no forward-mode derivative."""
    inputs, outputs = kernel.shape[2:]
    if few_pixels(x, kernel):
        fastest = by_product
    elif inputs <= FEW_INPUTS and outputs <= 32:
        fastest = by_shifts
    else:
        fastest = by_winograd if many_channels(kernel, FORWARD) else plain
    return on_cpu(fastest, plain, x, kernel)


def forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv3x3(x, kernel), (x, kernel)


def backward(given: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    """By the pixels, and by the kernel."""
    x, kernel = given
    inputs, outputs = kernel.shape[2:]
    by_pixels, by_kernel = input_gradient, kernel_gradient
    if few_pixels(x, kernel):
        by_pixels, by_kernel = input_by_product, kernel_by_product
    elif inputs <= FEW_INPUTS and outputs > 32:
        by_kernel = kernel_by_product
    else:
        by_pixels = input_by_winograd if many_channels(kernel, FORWARD) else by_pixels
        by_kernel = kernel_by_winograd if many_channels(kernel, GRADIENT) else by_kernel
    return on_cpu(by_pixels, input_gradient, *given, gradient), on_cpu(by_kernel, kernel_gradient, *given, gradient)


conv3x3.defvjp(forward, backward)


def on_cpu(fastest: Callable[..., Array], default: Callable[..., Array], *given: Array) -> Array:
    return default(*given) if fastest is default else lax.platform_dependent(*given, cpu=fastest, default=default)


def few_pixels(x: Array, kernel: Array) -> bool:
    """Where reading the kernel takes the time, of which Winograd's way makes 36 numbers for 9."""
    return 2 * x.size // x.shape[3] <= max(kernel.shape[2:])


def many_channels(kernel: Array, least: int) -> bool:
    inputs, outputs = kernel.shape[2:]
    return inputs * outputs >= least * (inputs + outputs)


def plain(x: Array, kernel: Array) -> Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def input_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
    return jax.vjp(lambda x: plain(x, kernel), x)[1](gradient)[0]


def kernel_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
    return jax.vjp(lambda kernel: plain(x, kernel), kernel)[1](gradient)[0]
