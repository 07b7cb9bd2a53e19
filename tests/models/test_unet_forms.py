"""The forms that other code bases give a U-Net: interpolation, order of concatenation, no biases, odd sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import SMALL, pixels, random_variables, scaled, shapes
from torch_unet import flat, needs_torch, torch

from jaxseg.models.resample import pad_to, upsample_bilinear
from jaxseg.models.table import count_parameters
from jaxseg.models.unet import UNet


@needs_torch
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 2)])
def test_upsampling_is_torchs(size, corners):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    theirs = torch.nn.Upsample(scale_factor=2, mode="bilinear", align_corners=corners)
    expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(upsample_bilinear(jnp.asarray(x), corners), expected, atol=1e-6)


@pytest.mark.parametrize("up", ["bilinear", "bilinear_corners"])
def test_interpolation_takes_no_upward_weights(up):
    """The block before narrows to the channels that are upsampled, so that skip and up have the same number."""
    params = shapes(UNet(SMALL, out_channels=1, up=up))["params"]
    assert not any(name.startswith("upconv") for name in params)
    kernels = {name: leaf.shape[2:] for name, leaf in flat(params).items() if name.endswith("kernel")}
    assert (kernels["dec2/0/kernel"], kernels["dec2/2/kernel"]) == ((12 + 8, 8), (8, 4))
    assert (kernels["dec1/0/kernel"], kernels["dec1/2/kernel"]) == ((4 + 4, 4), (4, 4))


def test_the_order_of_concatenation_is_the_order_of_the_kernels_inputs():
    model, other = (UNet(SMALL, out_channels=1, up_first=first) for first in (False, True))
    variables = random_variables(model)
    swapped = jax.tree.map(np.copy, variables)
    for level in (1, 2):
        layer = swapped["params"][f"dec{level}"]["0"]
        layer["kernel"] = np.roll(layer["kernel"], SMALL[level - 1], axis=2)
    image = scaled(pixels())
    np.testing.assert_allclose(jax.jit(other.apply)(swapped, image), jax.jit(model.apply)(variables, image), atol=1e-5)


def test_without_biases_it_is_the_network_whose_biases_are_zero():
    model, bare = (UNet(SMALL, out_channels=1, bias=bias) for bias in (True, False))
    variables = random_variables(bare)
    assert [name for name in flat(variables["params"]) if name.endswith("bias")] == [
        "final_conv/bias",
        "upconv1/bias",
        "upconv2/bias",
    ]
    filled = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes(model))
    for name, leaf in flat(variables["params"]).items():
        *path, last = name.split("/")
        node = filled["params"]
        for part in path:
            node = node[part]
        node[last] = leaf
    image = scaled(pixels())
    np.testing.assert_allclose(jax.jit(model.apply)(filled, image), jax.jit(bare.apply)(variables, image), atol=1e-6)


@pytest.mark.parametrize("up", ["transposed", "bilinear"])
def test_with_padding_any_size_is_good_and_a_good_one_is_not_touched(up):
    strict, padded = (UNet(SMALL, out_channels=1, norm="batch", up=up, pad=pad) for pad in (False, True))
    variables = random_variables(strict)
    for size in ((16, 24), (17, 23), (5, 30)):
        image, valid = scaled(pixels(size=size)), jnp.ones((2, *size), bool)
        logits, _ = jax.eval_shape(
            lambda v, i, m: padded.apply(v, i, m, train=True, mutable=["batch_stats"]), variables, image, valid
        )
        assert logits.shape == (2, *size, 1)
    image = scaled(pixels())
    np.testing.assert_array_equal(jax.jit(padded.apply)(variables, image), jax.jit(strict.apply)(variables, image))
    assert count_parameters(padded, 3) == count_parameters(strict, 3)


@needs_torch
@pytest.mark.parametrize("target", [(8, 8), (9, 8), (9, 11), (8, 10)])
def test_padding_is_around_and_the_odd_zero_comes_after(target):
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    down, right = target[0] - 8, target[1] - 8
    sides = (right // 2, right - right // 2, down // 2, down - down // 2)
    expected = torch.nn.functional.pad(torch.tensor(x.transpose(0, 3, 1, 2)), sides).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(pad_to(jnp.asarray(x), *target), expected)
