"""The first weights are distributed as PyTorch's."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import SMALL, state_dict
from torch_unet import TorchUNet, flat, needs_torch, torch

from jaxseg.models.unet import UNet


@cache
def initializer(model: UNet):
    return jax.jit(model.init)


def init(model: UNet, seed: int = 0) -> dict:
    return initializer(model)(jax.random.key(seed), jnp.zeros((1, 4, 4, 3)))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov and Smirnov's, scaled: samples of one distribution exceed 2.2 once in 8,000 times."""
    a, b = np.sort(a.ravel()), np.sort(b.ravel())
    both = np.concatenate([a, b])
    gap = np.searchsorted(a, both, "right") / a.size - np.searchsorted(b, both, "right") / b.size
    return float(np.abs(gap).max() * np.sqrt(a.size * b.size / (a.size + b.size)))


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
