"""The convolution 3x3 with zeros around, and both its gradients, by Winograd's algorithm.

Lavin and Gray 2015, arXiv:1509.09308, F(4x4, 3x3): 36 products for 16 pixels where the plain sum has 144.
"""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

TILE, SPAN = 4, 6
"""Pixels of a tile along a side, and of what they are computed from."""

POINTS = (0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))
"""Where the polynomials are evaluated, and at infinity: half the rounding error of the paper's 0, +-1 and +-2."""

AFTER = np.array([[p**i for p in POINTS] + [float(i == TILE - 1)] for i in range(TILE)])
"""The paper's A^T, (TILE, SPAN): products to pixels."""
KERNEL = np.array([[p**k / np.prod([p - q for q in POINTS if q != p]) for k in range(3)] for p in POINTS] + [[0, 0, 1]])
"""G, (SPAN, 3)."""
BEFORE = np.array([[*np.poly([q for q in POINTS if q != p])[::-1], 0] for p in POINTS] + [np.poly(POINTS)[::-1]])
"""B^T, (SPAN, SPAN): pixels to factors."""
BOTH = np.einsum("ik,jl->ijkl", KERNEL, KERNEL).reshape(SPAN * SPAN, 9)
"""G of rows and columns at once."""


def by_winograd(x: Array, kernel: Array) -> Array:
    kernels = product(BOTH, kernel.reshape(9, -1)).reshape(-1, *kernel.shape[2:])
    return pixels(lax.dot_general(factors(x), kernels, (((2,), (1,)), ((0,), (0,)))), *x.shape[:3])


def input_by_winograd(x: Array, kernel: Array, gradient: Array) -> Array:
    """The convolution of the gradient with the turned kernel, whose channels are left where they are: moving them took
    longer than the rest where they are many."""
    kernels = product(BOTH[:, ::-1], kernel.reshape(9, -1)).reshape(-1, *kernel.shape[2:])
    return pixels(lax.dot_general(factors(gradient), kernels, (((2,), (2,)), ((0,), (0,)))), *x.shape[:3])


def kernel_by_winograd(x: Array, kernel: Array, gradient: Array) -> Array:
    products = lax.dot_general(factors(x), spread(gradient), (((1,), (1,)), ((0,), (0,))))
    return product(BOTH.T, products.reshape(SPAN * SPAN, -1)).reshape(kernel.shape)


def factors(x: Float[Array, "batch height width c"]) -> Float[Array, "36 tiles c"]:
    """B^T d B of each tile d with its border."""
    high, wide = tiles(x)
    x = jnp.pad(x, ((0, 0), (1, 1 + high * TILE - x.shape[1]), (1, 1 + wide * TILE - x.shape[2]), (0, 0)))
    columns = combined(BEFORE, [x[:, :, k : k + wide * TILE - 3 : TILE] for k in range(SPAN)])
    columns = columns.reshape(*columns.shape[:3], -1)  # long rows are faster
    rows = combined(BEFORE, [columns[:, :, k : k + high * TILE - 3 : TILE] for k in range(SPAN)])
    return rows.reshape(SPAN * SPAN, -1, x.shape[3])


def spread(gradient: Float[Array, "batch height width c"]) -> Float[Array, "36 tiles c"]:
    """A d A^T of each tile d, the transposed of `pixels`."""
    high, wide = tiles(gradient)
    missing = (high * TILE - gradient.shape[1], wide * TILE - gradient.shape[2])
    x = jnp.pad(gradient, ((0, 0), *((0, n) for n in missing), (0, 0))) if any(missing) else gradient
    columns = combined(AFTER.T, [x[:, :, k::TILE] for k in range(TILE)])
    columns = columns.reshape(*columns.shape[:3], -1)
    rows = combined(AFTER.T, [columns[:, :, k::TILE] for k in range(TILE)])
    return rows.reshape(SPAN * SPAN, -1, x.shape[3])


def pixels(products: Float[Array, "36 tiles c"], batch: int, height: int, width: int) -> Float[Array, "batch _ _ c"]:
    """A^T m A of the products m of each tile."""
    high, wide, channels = -(-height // TILE), -(-width // TILE), products.shape[2]
    products = products.reshape(SPAN, SPAN, batch, high, wide * channels)
    rows = combined(AFTER, list(products))
    columns = combined(AFTER, [rows[:, k] for k in range(SPAN)])  # columns, rows, batch, high, wide and channels
    x = columns.reshape(TILE, TILE, batch, high, wide, channels).transpose(2, 3, 1, 4, 0, 5)
    return x.reshape(batch, high * TILE, wide * TILE, channels)[:, :height, :width]


def tiles(x: Array) -> tuple[int, int]:
    return -(-x.shape[1] // TILE), -(-x.shape[2] // TILE)


def combined(matrix: np.ndarray, parts: list[Array]) -> Array:
    """The sums of `parts` weighted by each row, stacked; it is computed once, not again for each use of it."""
    return lax.optimization_barrier(jnp.stack([weighted_sum(row, parts) for row in matrix]))


def weighted_sum(weights: Iterable[float], parts: list[Array]) -> Array:
    terms = [float(w) * part if w != 1 else part for w, part in zip(weights, parts, strict=True) if abs(w) > 1e-12]
    return sum(terms[1:], terms[0])


def product(matrix: np.ndarray, x: Array) -> Array:
    return jnp.matmul(jnp.asarray(matrix, jnp.float32), x, precision="highest")
