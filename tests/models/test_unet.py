"""The U-Net is the original's: names, shapes, first weights and logits; its normalisation sees only what counts."""

from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_unet import TorchUNet, flat, load_strictly, needs_torch, to_variables, torch, torch_images

from jaxseg.errors import InputError
from jaxseg.models.table import count_parameters
from jaxseg.models.unet import UNet, UpConv, check_size, pad_to, upsample_bilinear
from jaxseg.torch_weights import to_state_dict

SMALL = (4, 8, 12)


def pixels(seed: int = 0, batch: int = 2, size: tuple[int, int] = (16, 24), channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, *size, channels)).astype(np.uint8)


def scaled(images: np.ndarray) -> jax.Array:
    return jnp.asarray(images, jnp.float32) / 255


@cache
def initializer(model: UNet):
    return jax.jit(model.init)


def init(model: UNet, seed: int = 0) -> dict:
    return initializer(model)(jax.random.key(seed), jnp.zeros((1, 4, 4, 3)))


def shapes(model: UNet, channels: int = 3) -> dict:
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, model.stride, model.stride, channels)))


def random_variables(model: UNet, channels: int = 3, seed: int = 0) -> dict:
    """Weights of which none is a 0 or a 1 by default, and the size of what passes stays about the same."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf) -> np.ndarray:
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.8, 1.2, leaf.shape).astype(np.float32)
        size = np.sqrt(2 / np.prod(leaf.shape[:-1])) if leaf.ndim == 4 else 0.1
        return rng.normal(scale=size, size=leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes(model, channels))


def state_dict(variables: dict) -> dict[str, np.ndarray]:
    return to_state_dict(variables["params"], variables.get("batch_stats", {}))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov and Smirnov's, scaled: samples of one distribution exceed 2.2 once in 8,000 times."""
    a, b = np.sort(a.ravel()), np.sort(b.ravel())
    both = np.concatenate([a, b])
    gap = np.searchsorted(a, both, "right") / a.size - np.searchsorted(b, both, "right") / b.size
    return float(np.abs(gap).max() * np.sqrt(a.size * b.size / (a.size + b.size)))


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


# The first weights.


@needs_torch
@pytest.mark.parametrize("seed", [0, 1])
def test_first_weights_are_distributed_as_torchs_layer_by_layer(seed):
    widths = (16, 24, 40)
    ours = state_dict(init(UNet(widths, out_channels=5), seed=seed))
    torch.manual_seed(seed)
    network = TorchUNet(widths, out_channels=5)
    biases: dict[str, list[np.ndarray]] = {"ours": [], "theirs": []}
    for name, tensor in network.state_dict().items():
        weight = network.get_parameter(name.removesuffix("bias") + "weight" if name.endswith("bias") else name)
        # Of a transposed convolution's weight (in, out, height, width) PyTorch takes the outputs for the inputs.
        bound = 1 / np.sqrt(weight.shape[1] * weight.shape[2] * weight.shape[3])
        mine, theirs = ours[name] / bound, tensor.numpy() / bound
        assert np.abs(mine).max() <= 1 + 1e-6, name
        assert np.abs(theirs).max() <= 1 + 1e-6, name
        if name.endswith("bias"):
            biases["ours"].append(mine)
            biases["theirs"].append(theirs)
            continue
        deviation = 5 / np.sqrt(mine.size)
        assert np.abs(mine).max() > 1 - 20 / mine.size, name
        assert abs(mine.mean()) < deviation / np.sqrt(3), name
        assert abs(3 * (mine**2).mean() - 1) < deviation, name
        assert distance(mine, theirs) < 2.2, name
    pooled = {who: np.concatenate(parts) for who, parts in biases.items()}
    assert np.abs(pooled["ours"]).max() > 0.95
    assert distance(pooled["ours"], pooled["theirs"]) < 2.2


@needs_torch
def test_first_normalisation_is_torchs():
    ours, theirs = (
        state_dict(init(UNet(SMALL, out_channels=1, norm="batch"))),
        TorchUNet(SMALL, norm="batch").state_dict(),
    )
    normalisation = [name for name in theirs if name.split(".")[1] in "14"]
    assert len(normalisation) == 5 * 5 * 2
    for name in normalisation:
        np.testing.assert_array_equal(ours[name], theirs[name].numpy(), name)


def test_every_tensor_gets_its_own_numbers_and_every_seed_others():
    model = UNet(SMALL, out_channels=2)
    drawn = [leaf for seed in (0, 1) for leaf in flat(init(model, seed=seed)["params"]).values()]
    patterns = {np.asarray(leaf / np.linalg.norm(leaf)).round(5).tobytes() for leaf in drawn}
    assert len(patterns) == len(drawn) == 2 * 26
    for ours, again in zip(drawn, flat(init(model)["params"]).values(), strict=False):
        np.testing.assert_array_equal(ours, again)


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
    ("widths", "channels", "out_channels", "norm"),
    [
        ((8, 12, 16, 20, 24), 3, 1, "none"),
        (SMALL, 1, 4, "none"),
        (SMALL, 4, 3, "batch"),
    ],
)
def test_logits_are_torchs(widths, channels, out_channels, norm):
    model = UNet(widths, out_channels=out_channels, norm=norm)
    variables = random_variables(model, channels)
    network = TorchUNet(widths, channels, out_channels, norm).eval()
    load_strictly(network, state_dict(variables))
    images = pixels(1, size=(32, 48), channels=channels)
    with torch.no_grad():
        expected, probability = network.logits(torch_images(images)), network(torch_images(images))
    logits = np.asarray(jax.jit(model.apply)(variables, scaled(images)))
    assert logits.std() > 1e-3
    np.testing.assert_allclose(logits, expected.numpy().transpose(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(jax.nn.sigmoid(logits), probability.numpy().transpose(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize(("dtype", "norm"), [("bfloat16", "none"), ("bfloat16", "batch"), ("float16", "none")])
def test_half_precision_is_computed_in_and_nothing_else(dtype, norm):
    whole, half = (UNet(SMALL, out_channels=2, norm=norm, dtype=d) for d in ("float32", dtype))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes(half))} == {jnp.dtype("float32")}
    variables, image = random_variables(half), scaled(pixels())
    layers = nn.Conv | nn.BatchNorm | UpConv

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


# Its other forms.


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


# Batch normalisation.


def train_pass(model: UNet, variables: dict, images: np.ndarray, valid: np.ndarray | None = None):
    """Logits, new running statistics, and what each convolution put out."""

    @jax.jit
    def run(variables, image, valid):
        keep = {
            "mutable": ["intermediates", "batch_stats"],
            "capture_intermediates": lambda m, _: isinstance(m, nn.Conv),
        }
        logits, kept = model.apply(variables, image, valid, train=True, **keep)
        return logits, kept["batch_stats"], kept["intermediates"]

    logits, statistics, outputs = run(variables, scaled(images), None if valid is None else jnp.asarray(valid))
    return np.asarray(logits), flat(statistics), outputs


@needs_torch
def test_training_normalises_and_keeps_statistics_as_torch_does():
    model = UNet(SMALL, out_channels=1, norm="batch")
    variables, images = random_variables(model), pixels(2)
    network = TorchUNet(SMALL, norm="batch").train()
    load_strictly(network, state_dict(variables))
    with torch.no_grad():
        expected = network.logits(torch_images(images)).numpy().transpose(0, 2, 3, 1)
    logits, statistics, _ = train_pass(model, variables, images)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    theirs = flat(to_variables(network)["batch_stats"])
    counted = {"enc1": 768, "enc2": 192, "bottleneck": 48, "dec2": 192, "dec1": 768}
    for name, before in flat(variables["batch_stats"]).items():
        new, their_new = (value - 0.9 * before for value in (statistics[name], theirs[name]))
        assert np.abs(new).max() > 1e-3
        # PyTorch keeps the unbiased variance: n / (n - 1) times ours.
        n = counted[name.split("/")[0]]
        unbiased = n / (n - 1) if name.endswith("var") else 1
        np.testing.assert_allclose(unbiased * new, their_new, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_sample_that_does_not_count_leaves_no_trace():
    model = UNet(SMALL, out_channels=1, norm="batch")
    variables, images = random_variables(model), pixels(3, batch=3)
    valid = np.ones(images.shape[:3], bool)
    valid[1] = False
    logits, statistics, _ = train_pass(model, variables, images, valid)
    expected, expected_statistics, _ = train_pass(model, variables, images[[0, 2]])
    np.testing.assert_allclose(logits[[0, 2]], expected, atol=1e-4)
    for name, value in expected_statistics.items():
        np.testing.assert_allclose(statistics[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    counted = train_pass(model, variables, images)[1]
    assert all(np.abs(counted[name] - value).max() > 1e-4 for name, value in expected_statistics.items())


def test_statistics_are_of_the_valid_pixels_at_every_level():
    """Below a pooling, a place counts if any of its four did."""
    model = UNet(SMALL, out_channels=1, norm="batch")
    variables, images = random_variables(model), pixels(4)
    valid = np.random.default_rng(0).random(images.shape[:3]) < 0.1
    _, statistics, outputs = train_pass(model, variables, images, valid)
    levels = [valid]
    for _ in SMALL[1:]:
        batch, height, width = levels[-1].shape
        levels.append(levels[-1].reshape(batch, height // 2, 2, width // 2, 2).any(axis=(2, 4)))
    blocks = {"enc1": 0, "enc2": 1, "bottleneck": 2, "dec2": 1, "dec1": 0}
    for block, level in blocks.items():
        for conv, norm in (("0", "1"), ("3", "4")):
            counted = np.asarray(outputs[block][conv]["__call__"][0])[levels[level]]
            assert len(counted) < levels[level].size
            for name, value in (("mean", counted.mean(0)), ("var", counted.var(0))):
                expected = 0.9 * variables["batch_stats"][block][norm][name] + 0.1 * value
                np.testing.assert_allclose(statistics[f"{block}/{norm}/{name}"], expected, atol=1e-5)


def test_no_valid_pixels_given_means_all():
    model = UNet(SMALL, out_channels=1, norm="batch")
    variables, images = random_variables(model), pixels(5)
    every, none = (train_pass(model, variables, images, v) for v in (np.ones(images.shape[:3], bool), None))
    np.testing.assert_allclose(every[0], none[0], atol=1e-5)


def test_evaluation_uses_the_running_statistics():
    """So an image's logits do not depend on its neighbours in the batch; in training they do."""
    model = UNet(SMALL, out_channels=1, norm="batch")
    variables, images = random_variables(model), pixels(6)
    apply = jax.jit(model.apply)
    together, alone = apply(variables, scaled(images))[:1], apply(variables, scaled(images[:1]))
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert np.abs(train_pass(model, variables, images)[0][:1] - alone).max() > 1e-3
    other = {**variables, "batch_stats": jax.tree.map(lambda leaf: leaf * 2, variables["batch_stats"])}
    assert np.abs(apply(other, scaled(images[:1])) - alone).max() > 1e-3


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
    with pytest.raises(InputError, match="18 x 16.*nearest is 16 x 16"):
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
        init(UNet(SMALL))
