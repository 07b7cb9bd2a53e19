"""Each way to convolve gives the plain sum and its gradients."""

import jax
import numpy as np
import pytest
from networks import operands

from jaxseg.models import conv3x3, patches, winograd
from jaxseg.models.winograd import AFTER, BEFORE, KERNEL, SPAN, TILE

SIZES = [(2, 8, 12, 5, 7), (1, 14, 6, 16, 3), (3, 9, 7, 4, 4), (1, 1, 2, 3, 2), (1, 5, 4, 40, 1)]
"""Batch, height, width, channels before and after."""


def shifted(x):
    """The nine views of a picture with zeros around, (row, column, batch, height, width, channels), in float64."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    return np.array([[padded[:, i : i + height, j : j + width] for j in range(3)] for i in range(3)])


def assert_close(found, exact):
    """The error's root mean square to that of the numbers; float32 rounds to 6e-8; the transforms make it 5 to 20."""
    assert found.shape == exact.shape
    assert np.sqrt(np.mean((found - exact) ** 2)) <= 2e-6 * np.sqrt(np.mean(exact**2))


def test_the_three_matrices_make_a_convolution():
    """Of any pixel with any tap: 1 where the one lies on the other, else 0; exact but for float64's rounding."""
    product = np.einsum("ij,jk,jl->ikl", AFTER, KERNEL, BEFORE)
    expected = [[[float(at == pixel + tap) for at in range(SPAN)] for tap in range(3)] for pixel in range(TILE)]
    np.testing.assert_allclose(product, expected, atol=1e-14)


WAYS = {
    "plain": (conv3x3.plain, conv3x3.input_gradient, conv3x3.kernel_gradient),
    "Winograd": (winograd.by_winograd, winograd.input_by_winograd, winograd.kernel_by_winograd),
    "product": (patches.by_product, patches.input_by_product, patches.kernel_by_product),
    "shifts": (patches.by_shifts,),
}
"""The convolution, and its gradients by the pixels and by the kernel."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_it_is_the_plain_sum_in_double_precision(way, size):
    x, kernel, gradient = operands(size)
    views = shifted(x)
    expected = [
        np.einsum("ijbhwc,ijco->bhwo", views, kernel),
        np.einsum("ijbhwo,ijco->bhwc", shifted(gradient)[::-1, ::-1], kernel),
        np.einsum("ijbhwc,bhwo->ijco", views, gradient),
    ]
    for function, exact in zip(WAYS[way], expected, strict=False):
        assert_close(jax.jit(function)(x, kernel, *(() if exact is expected[0] else (gradient,))), exact)
