"""Normalisation is PyTorch's; that of the batch sees only what counts, that of groups one image."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from networks import SMALL, pixels, random_variables, scaled, state_dict
from torch_unet import TorchUNet, flat, load_strictly, needs_torch, to_variables, torch, torch_images

from jaxseg.models.block import Block
from jaxseg.models.unet import UNet


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
    np.testing.assert_allclose(every[0], none[0], rtol=1e-5, atol=1e-5)


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


def test_groups_see_one_image_alone_and_all_of_it():
    """Whatever the other images are or count, and in training as in evaluation."""
    model = UNet(SMALL, out_channels=1, norm="group", groups=2)
    variables, images = random_variables(model), pixels(7, batch=3)
    valid = np.random.default_rng(0).random(images.shape[:3]) < 0.5
    valid[1] = False
    others = np.where(np.arange(3)[:, None, None, None] == 1, 255 - images, images)
    assert list(variables) == ["params"]
    apply = jax.jit(model.apply)
    expected = np.concatenate([apply(variables, scaled(images[place : place + 1])) for place in (0, 2)])
    train = jax.jit(lambda image: model.apply(variables, image, jnp.asarray(valid), train=True))
    np.testing.assert_allclose(train(scaled(images))[np.array([0, 2])], expected, atol=1e-5)
    np.testing.assert_array_equal(train(scaled(images))[np.array([0, 2])], train(scaled(others))[np.array([0, 2])])
    assert np.abs(train(scaled(images))[1] - train(scaled(others))[1]).max() > 1e-2


@needs_torch
def test_fresh_groups_are_torchs_even_of_large_mean_and_small_spread():
    """Where the mean of squares less the square of the mean would leave little."""
    x = (100 + np.random.default_rng(0).normal(scale=0.1, size=(2, 8, 12, 8))).astype(np.float32)
    block = Block((8, 8), norm="group", groups=4, epsilon=1e-5, activation="elu", bias=True, dtype="float32")
    variables = jax.jit(lambda x: block.init(jax.random.key(0), x, None, False))(jnp.asarray(x))
    kernel = np.zeros((3, 3, 8, 8), np.float32)
    kernel[1, 1] = np.eye(8)
    variables["params"]["0"] = {"kernel": kernel, "bias": np.zeros(8, np.float32)}
    _, kept = block.apply(variables, jnp.asarray(x), None, False, capture_intermediates=True)
    with torch.no_grad():
        expected = torch.nn.GroupNorm(4, 8)(torch.tensor(x.transpose(0, 3, 1, 2).copy())).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(kept["intermediates"]["1"]["__call__"][0], expected, atol=2e-3)
