"""The fastest way is taken where it shall be, and differentiates as the plain one does."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from networks import operands

from jaxseg.models import conv3x3 as fastest
from jaxseg.models import winograd
from jaxseg.models.conv3x3 import conv, conv3x3


@pytest.fixture
def everywhere(monkeypatch):
    """Winograd's algorithm for any number of channels."""
    monkeypatch.setattr(fastest, "FORWARD", 0)
    monkeypatch.setattr(fastest, "GRADIENT", 0)
    monkeypatch.setattr(fastest, "FEW_INPUTS", 0)
    monkeypatch.setattr(fastest, "few_pixels", lambda x, kernel: False)


def with_gradients(function):
    """The output, and what is pulled back to both operands."""

    def run(x, kernel, gradient):
        output, pull = jax.vjp(function, x, kernel)
        return output, *pull(gradient)

    return run


def test_what_jax_differentiates_is_it(everywhere):
    given = operands((2, 6, 8, 3, 4))
    functions = winograd.by_winograd, winograd.input_by_winograd, winograd.kernel_by_winograd
    expected = jax.jit(lambda *given: [f(*given[: 2 if f is functions[0] else 3]) for f in functions])(*given)
    jax.tree.map(np.testing.assert_array_equal, list(jax.jit(with_gradients(conv3x3))(*given)), expected)


def test_it_gives_the_same_bits_again_and_the_same_under_vmap(everywhere):
    given = operands((2, 6, 8, 3, 4))
    run = jax.jit(with_gradients(conv3x3))
    first = run(*given)
    jax.tree.map(np.testing.assert_array_equal, first, run(*given))
    batched = jax.jit(jax.vmap(with_gradients(conv3x3)))(*(array[None] for array in given))
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5), [leaf[0] for leaf in batched], list(first))


def test_eight_devices_give_what_one_gives(everywhere):
    x, kernel, gradient = operands((8, 6, 8, 3, 4))
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    rows, whole = NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec())
    run = with_gradients(conv3x3)
    found = jax.jit(run, in_shardings=(rows, whole, rows), out_shardings=(rows, rows, whole))(x, kernel, gradient)
    jax.tree.map(partial(np.testing.assert_allclose, atol=5e-5), found, jax.jit(run)(x, kernel, gradient))


# Where each is used.

FAST = (
    ("by_winograd", "input_by_winograd", "kernel_by_winograd"),
    ("by_product", "input_by_product", "kernel_by_product"),
    ("by_shifts",),
)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1, 64, 64, 3, 16), {"by_shifts"}),
        ((1, 64, 64, 3, 64), {"kernel_by_product"}),
        ((1, 64, 64, 16, 16), set()),
        ((1, 64, 64, 16, 32), {"kernel_by_winograd"}),
        ((1, 64, 64, 64, 32), set(FAST[0])),
        ((2, 14, 14, 512, 1024), set(FAST[1])),
        ((4, 14, 14, 1024, 1024), set(FAST[0])),
    ],
)
def test_the_way_fits_the_shape(monkeypatch, size, expected):
    seen = set()

    def noted(name):
        function = getattr(fastest, name)
        return lambda *given: (seen.add(name), function(*given))[1]

    for name in sum(FAST, ()):
        monkeypatch.setattr(fastest, name, noted(name))
    arrays = [jax.ShapeDtypeStruct(array.shape, "float32") for array in operands(size)]
    jax.eval_shape(with_gradients(conv3x3), *arrays)
    assert seen == expected


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
