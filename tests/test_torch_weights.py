"""A PyTorch state dict and jaxseg's variables are the same numbers, both ways and to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_unet import TorchUNet, flat, load_strictly, needs_torch, to_variables, torch

from jaxseg import torch_weights
from jaxseg.models.unet import UNet
from jaxseg.torch_weights import original_name, to_leaves, to_state_dict, unnamed

BOTH = pytest.mark.parametrize("norm", ["none", "batch"])


def numbered(norm: str) -> dict:
    """A network's variables, every number another one."""
    model = UNet((3, 5, 7), out_channels=2, norm=norm)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
    leaves, structure = jax.tree.flatten(shapes)
    ends = np.cumsum([leaf.size for leaf in leaves])
    values = [
        np.arange(end - leaf.size, end, dtype=np.float32).reshape(leaf.shape)
        for end, leaf in zip(ends, leaves, strict=True)
    ]
    return {"batch_stats": {}, **jax.tree.unflatten(structure, values)}


def state_dict(variables: dict, **settings) -> dict[str, np.ndarray]:
    return to_state_dict(variables["params"], variables["batch_stats"], **settings)


def test_the_names_are_in_the_order_in_which_the_network_runs():
    modules = ["enc1", "enc2", "bottleneck", "upconv2", "dec2", "upconv1", "dec1", "final_conv"]
    names = list(state_dict(numbered("batch")))
    assert list(dict.fromkeys(name.split(".")[0] for name in names)) == modules
    assert [name for name in names if name.startswith("enc1")] == [
        f"enc1.{place}.{suffix}"
        for place, suffixes in (
            (0, ["weight", "bias"]),
            (1, ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]),
            (3, ["weight", "bias"]),
            (4, ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]),
        )
        for suffix in suffixes
    ]


@needs_torch
@BOTH
def test_it_is_the_original_state_dict_in_names_order_types_and_shapes(norm):
    theirs = TorchUNet((3, 5, 7), out_channels=2, norm=norm).state_dict()
    ours = state_dict(numbered(norm))
    assert list(ours) == list(theirs)
    for name, tensor in theirs.items():
        assert ours[name].shape == tuple(tensor.shape), name
        assert ours[name].dtype == tensor.numpy().dtype, name


def test_deep_networks_are_ordered_by_number_and_not_by_letter():
    model = UNet((1,) * 12, out_channels=1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, model.stride, model.stride, 3)))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes["params"])
    modules = list(dict.fromkeys(name.split(".")[0] for name in to_state_dict(zeros, {})))
    assert modules[:11] == [f"enc{level}" for level in range(1, 12)]
    assert modules[12:16] == ["upconv11", "dec11", "upconv10", "dec10"]


def test_each_layout_is_the_right_permutation():
    variables = numbered("none")
    names = state_dict(variables)
    kernel = variables["params"]["enc2"]["2"]["kernel"]
    weight = names["enc2.2.weight"]
    assert weight.shape == (5, 5, 3, 3)
    assert all(weight[o, i, y, x] == kernel[y, x, i, o] for o in (0, 4) for i in (0, 3) for y in (0, 2) for x in (0, 1))
    kernel, weight = variables["params"]["upconv2"]["kernel"], names["upconv2.weight"]
    assert weight.shape == (7, 5, 2, 2)
    assert all(weight[i, o, y, x] == kernel[y, x, i, o] for i in (0, 6) for o in (0, 4) for y in (0, 1) for x in (0, 1))
    np.testing.assert_array_equal(names["dec1.0.bias"], variables["params"]["dec1"]["0"]["bias"])


@BOTH
def test_no_number_is_lost_and_the_arrays_are_its_own(norm):
    variables = numbered(norm)
    named = state_dict(jax.tree.map(jnp.asarray, variables))
    floats = [value for name, value in named.items() if not name.endswith("num_batches_tracked")]
    found = np.sort(np.concatenate([value.ravel() for value in floats]))
    np.testing.assert_array_equal(found, np.arange(found.size, dtype=np.float32))
    assert found.size == sum(leaf.size for leaf in jax.tree.leaves(variables))
    for value in named.values():
        assert value.flags.c_contiguous
        assert value.flags.writeable
        assert value.flags.owndata


def test_normalisation_says_how_many_batches_it_saw():
    tracked = [v for k, v in state_dict(numbered("batch"), batches=70_000).items() if k.endswith("num_batches_tracked")]
    assert len(tracked) == 10
    assert all(value.dtype == np.int64 and value.shape == () and value == 70_000 for value in tracked)
    assert not any("num_batches" in name for name in state_dict(numbered("none"), batches=1))


@needs_torch
@BOTH
def test_there_and_back_through_torch_is_exact(norm):
    variables = numbered(norm)
    network = TorchUNet((3, 5, 7), out_channels=2, norm=norm)
    load_strictly(network, state_dict(variables))
    back = to_variables(network)
    expected = flat(variables)
    assert set(flat(back)) == set(expected)
    for name, value in flat(back).items():
        np.testing.assert_array_equal(value, expected[name], name)
    theirs = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    names = {original_name(path): path for path in to_leaves(variables["params"], variables["batch_stats"])}
    for name, value in flat(torch_weights.to_variables(unnamed(theirs, names))).items():
        np.testing.assert_array_equal(value, expected.pop(name), name)
    assert not expected
    again = state_dict(back)
    for name, tensor in network.state_dict().items():
        assert torch.equal(torch.tensor(again[name]), tensor), name
