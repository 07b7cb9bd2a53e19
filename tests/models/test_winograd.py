"""The convolution by Winograd's algorithm and its gradients are the plain ones, and only where they shall be."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxseg.models import winograd
from jaxseg.models.winograd import AFTER, BEFORE, KERNEL, SPAN, TILE, conv, conv3x3

SIZES = [(2, 8, 12, 5, 7), (1, 14, 6, 16, 3), (3, 9, 7, 4, 4), (1, 1, 2, 3, 2), (1, 5, 4, 40, 1)]
"""Batch, height, width, channels before and after."""


def drawn(size, seed=0):
    batch, height, width, inputs, outputs = size
    rng = np.random.default_rng(seed)
    shapes = (batch, height, width, inputs), (3, 3, inputs, outputs), (batch, height, width, outputs)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


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


@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_plain_sum_in_double_precision(size):
    x, kernel, gradient = drawn(size)
    views = shifted(x)
    assert_close(jax.jit(winograd.by_winograd)(x, kernel), np.einsum("ijbhwc,ijco->bhwo", views, kernel))
    by_kernel = jax.jit(winograd.kernel_by_winograd)(x, kernel, gradient)
    assert_close(by_kernel, np.einsum("ijbhwc,bhwo->ijco", views, gradient))
    by_pixels = jax.jit(winograd.input_by_winograd)(x, kernel, gradient)
    assert_close(by_pixels, np.einsum("ijbhwo,ijco->bhwc", shifted(gradient)[::-1, ::-1], kernel))


@pytest.fixture
def everywhere(monkeypatch):
    """Winograd's algorithm for any number of channels."""
    monkeypatch.setattr(winograd, "FORWARD", 0)
    monkeypatch.setattr(winograd, "GRADIENT", 0)


def with_gradients(function):
    """The output, and what is pulled back to both operands."""

    def run(x, kernel, gradient):
        output, pull = jax.vjp(function, x, kernel)
        return output, *pull(gradient)

    return run


def test_what_jax_differentiates_is_it(everywhere):
    given = drawn((2, 6, 8, 3, 4))
    functions = winograd.by_winograd, winograd.input_by_winograd, winograd.kernel_by_winograd
    expected = jax.jit(lambda *given: [f(*given[: 2 if f is functions[0] else 3]) for f in functions])(*given)
    jax.tree.map(np.testing.assert_array_equal, list(jax.jit(with_gradients(conv3x3))(*given)), expected)


def test_it_gives_the_same_bits_again_and_the_same_under_vmap(everywhere):
    given = drawn((2, 6, 8, 3, 4))
    run = jax.jit(with_gradients(conv3x3))
    first = run(*given)
    jax.tree.map(np.testing.assert_array_equal, first, run(*given))
    batched = jax.jit(jax.vmap(with_gradients(conv3x3)))(*(array[None] for array in given))
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5), [leaf[0] for leaf in batched], list(first))


def test_eight_devices_give_what_one_gives(everywhere):
    x, kernel, gradient = drawn((8, 6, 8, 3, 4))
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    rows, whole = NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())
    run = with_gradients(conv3x3)
    found = jax.jit(run, in_shardings=(rows, whole, rows), out_shardings=(rows, rows, whole))(x, kernel, gradient)
    jax.tree.map(partial(np.testing.assert_allclose, atol=5e-5), found, jax.jit(run)(x, kernel, gradient))


# Where it is used.


def text(platform, x, channels):
    """The program for a platform, of a layer with so many channels on both sides, and its gradients."""

    def run(x, kernel):
        dimensions = lax.conv_dimension_numbers(x.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))
        return conv(x, kernel, (1, 1), "SAME", dimension_numbers=dimensions)

    kernel = jax.ShapeDtypeStruct((3, 3, channels, channels), x.dtype)

    def objective(kernel, x):
        return (run(x, kernel).astype(jnp.float32) ** 2).sum()

    return export.export(jax.jit(jax.grad(objective)), platforms=[platform])(kernel, x).mlir_module()


@pytest.mark.parametrize(
    ("platform", "dtype", "channels", "expected"),
    [
        ("cpu", "float32", 64, True),
        ("cpu", "float32", 8, False),
        ("cuda", "float32", 64, False),
        ("tpu", "float32", 64, False),
        ("cpu", "bfloat16", 64, False),
    ],
)
def test_only_on_a_cpu_in_float32_with_many_channels(platform, dtype, channels, expected):
    program = text(platform, jax.ShapeDtypeStruct((1, 8, 8, channels), dtype), channels)
    assert ("dot_general" in program) == expected
    assert ("stablehlo.convolution" in program) != expected


def test_a_size_that_is_not_known_yet_takes_the_plain_one():
    shape = export.symbolic_shape("batch, height, width, 64")
    assert "dot_general" not in text("cpu", jax.ShapeDtypeStruct(shape, jnp.float32), 64)
