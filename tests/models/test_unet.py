"""The U-Net is the original's: names, shapes and logits."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import SMALL, pixels, random_variables, scaled, shapes, state_dict
from torch_unet import TorchUNet, flat, load_strictly, needs_torch, to_variables, torch, torch_images

from jaxseg.errors import InputError
from jaxseg.models.batch_norm import BatchNorm
from jaxseg.models.resample import UpConv
from jaxseg.models.table import count_parameters
from jaxseg.models.unet import UNet, check_size

# What it is made of.


def test_the_originals_network_has_31031745_parameters():
    assert count_parameters(UNet(out_channels=1), channels=3) == 31_031_745


@needs_torch
@pytest.mark.parametrize(
    ("widths", "channels", "out_channels", "norm"),
    [
        ((64, 128, 256, 512, 1024), 3, 1, "none"),
        (SMALL, 1, 3, "none"),
        (SMALL, 4, 91, "batch"),
        ((3, 5), 3, 1, "batch"),
        ((8, 16), 3, 1, "group"),
    ],
)
def test_names_and_shapes_are_the_original_state_dicts_both_ways(widths, channels, out_channels, norm):
    tree = shapes(UNet(widths, out_channels=out_channels, norm=norm), channels)
    ours = state_dict(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree))
    with torch.device("meta"):
        network = TorchUNet(widths, channels, out_channels, norm)
    network.to_empty(device="cpu")
    assert list(ours) == list(network.state_dict())
    load_strictly(network, ours)
    for collection, back in to_variables(network).items():
        expected = {name: leaf.shape for name, leaf in flat(tree.get(collection, {})).items()}
        assert {name: value.shape for name, value in flat(back).items()} == expected


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("out_channels", [1, 2, 7])
def test_any_number_of_classes_and_channels(channels, out_channels):
    model = UNet(SMALL, out_channels=out_channels)
    found = jax.eval_shape(
        lambda key, image: model.init_with_output(key, image)[0], jax.random.key(0), jnp.zeros((2, 8, 12, channels))
    )
    assert (found.shape, found.dtype) == ((2, 8, 12, out_channels), jnp.float32)


def test_a_model_is_its_own_setting():
    assert UNet(SMALL, out_channels=2) == UNet(SMALL, out_channels=2)
    assert hash(UNet(SMALL)) == hash(UNet(SMALL))
    assert UNet(SMALL) != UNet(SMALL, norm="batch")


# What it computes.


@needs_torch
@pytest.mark.parametrize(("inputs", "features", "height", "width"), [(3, 5, 4, 6), (8, 4, 7, 3)])
def test_upconv_is_torchs_transposed_convolution(inputs, features, height, width):
    x = np.random.default_rng(0).normal(size=(2, height, width, inputs)).astype(np.float32)
    layer = UpConv(features, "float32")
    rng = np.random.default_rng(1)
    kernel, bias = (rng.normal(size=s).astype(np.float32) for s in ((2, 2, inputs, features), (features,)))
    theirs = torch.nn.ConvTranspose2d(inputs, features, kernel_size=2, stride=2)
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(kernel.transpose(2, 3, 0, 1)))
        theirs.bias.copy_(torch.tensor(bias))
        expected = theirs(torch.tensor(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    found = layer.apply({"params": {"kernel": kernel, "bias": bias}}, jnp.asarray(x))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@needs_torch
@pytest.mark.parametrize(
    ("widths", "channels", "out_channels", "norm", "groups", "activation"),
    [
        ((8, 12, 16, 20, 24), 3, 1, "none", 8, "relu"),
        (SMALL, 1, 4, "none", 8, "relu"),
        (SMALL, 4, 3, "batch", 8, "relu"),
        (SMALL, 3, 2, "group", 4, "relu"),
        (SMALL, 3, 1, "group", 2, "gelu"),
        (SMALL, 3, 1, "batch", 8, "elu"),
        (SMALL, 3, 1, "none", 8, "leaky_relu"),
        (SMALL, 3, 1, "none", 8, "silu"),
    ],
)
def test_logits_are_torchs(widths, channels, out_channels, norm, groups, activation):
    settings = {"norm": norm, "groups": groups, "activation": activation}
    model = UNet(widths, out_channels=out_channels, **settings)
    variables = random_variables(model, channels)
    network = TorchUNet(widths, channels, out_channels, **settings).eval()
    load_strictly(network, state_dict(variables))
    images = pixels(1, size=(32, 48), channels=channels)
    with torch.no_grad():
        expected, probability = network.logits(torch_images(images)), network(torch_images(images))
    logits = np.asarray(jax.jit(model.apply)(variables, scaled(images)))
    assert logits.std() > 1e-3
    np.testing.assert_allclose(logits, expected.numpy().transpose(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(jax.nn.sigmoid(logits), probability.numpy().transpose(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "norm"), [("bfloat16", "none"), ("bfloat16", "batch"), ("bfloat16", "group"), ("float16", "none")]
)
def test_half_precision_is_computed_in_and_nothing_else(dtype, norm):
    whole, half = (UNet(SMALL, out_channels=2, norm=norm, groups=2, dtype=d) for d in ("float32", dtype))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes(half))} == {jnp.dtype("float32")}
    variables, image = random_variables(half), scaled(pixels())
    layers = nn.Conv | BatchNorm | nn.GroupNorm | UpConv

    @jax.jit
    def run(variables):
        keep = {
            "mutable": ["intermediates", "batch_stats"],
            "capture_intermediates": lambda m, _: isinstance(m, layers),
        }
        logits, kept = half.apply(variables, image, train=True, **keep)
        return logits, kept["intermediates"]

    logits, outputs = run(variables)
    last = outputs.pop("final_conv")
    assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {jnp.dtype(dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(last)} == {logits.dtype} == {jnp.dtype("float32")}
    expected = jax.jit(lambda v: whole.apply(v, image, train=True, mutable=["batch_stats"])[0])(variables)
    assert 0 < np.abs(logits - expected).max() < 0.05 * np.abs(expected).max()
    gradients = jax.jit(jax.grad(lambda p: run({**variables, "params": p})[0].std()))(variables["params"])
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


# What it refuses.


@pytest.mark.parametrize(
    ("size", "stride", "nearest"),
    [((225, 224), 16, "224 x 224"), ((100, 310), 16, "96 x 304"), ((1, 7), 8, "8 x 8"), ((0, 64), 16, "16 x 64")],
)
def test_a_size_it_cannot_take_names_the_nearest_it_can(size, stride, nearest):
    with pytest.raises(
        InputError, match=f"{size[0]} x {size[1]}: .*multiples of {stride}.* nearest is {nearest}: --data.height"
    ):
        check_size(*size, stride)


def test_the_network_itself_refuses_such_a_size():
    with pytest.raises(InputError, match=r"18 x 16.*nearest is 16 x 16"):
        jax.eval_shape(UNet(SMALL, out_channels=1).init, jax.random.key(0), jnp.zeros((1, 18, 16, 3)))


@pytest.mark.parametrize("widths", [(4,), (4, 8), (4, 8, 8, 8, 8)])
def test_every_multiple_of_the_stride_is_good(widths):
    model = UNet(widths, out_channels=1)
    assert model.stride == 2 ** (len(widths) - 1)
    size = (model.stride, 3 * model.stride)
    check_size(*size, model.stride)
    logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((1, *size, 3)))
    assert logits.shape == (1, *size, 1)


def test_classes_that_are_not_known_yet_are_asked_for():
    with pytest.raises(InputError, match="give a number"):
        shapes(UNet(SMALL))


@pytest.mark.parametrize("groups", [0, 3, 8])
def test_groups_that_do_not_divide_the_widths_name_the_number_that_does(groups):
    with pytest.raises(InputError, match=rf"{groups} groups: .*widths 4 8 12 .*fits is 4: --model.groups 4"):
        shapes(UNet(SMALL, out_channels=1, norm="group", groups=groups))
    assert shapes(UNet(SMALL, out_channels=1, groups=groups))
