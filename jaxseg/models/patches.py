"""The convolution 3x3 with zeros around as one matrix product with each pixel's surroundings, or as a sum of shifts."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def by_product(x: Array, kernel: Array) -> Array:
    """With the surroundings as a matrix, nine numbers for each; the kernel is read once, as it lies."""
    inputs, outputs = kernel.shape[2:]
    return jnp.dot(jnp.concatenate(shifted(x), axis=-1), kernel.reshape(9 * inputs, outputs))


def input_by_product(x: Array, kernel: Array, gradient: Array) -> Array:
    return jax.vjp(lambda x: by_product(x, kernel), x)[1](gradient)[0]


def kernel_by_product(x: Array, kernel: Array, gradient: Array) -> Array:
    return jax.vjp(lambda kernel: by_product(x, kernel), kernel)[1](gradient)[0]


def by_shifts(x: Array, kernel: Array) -> Array:
    """A product for each tap and channel before, all in one loop over the pixels."""
    taps = kernel.reshape(9, x.shape[3], 1, 1, 1, kernel.shape[3])
    terms = [view[..., k, None] * taps[tap, k] for tap, view in enumerate(shifted(x)) for k in range(x.shape[3])]
    return sum(terms[1:], terms[0])


def shifted(x: Float[Array, "batch height width c"]) -> list[Float[Array, "batch height width c"]]:
    """What lies under each of the nine taps."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
