"""Checkpoint files against the real PyTorch: each reads, bit by bit, what the other writes."""

import argparse
import collections
import pathlib
import zipfile

import ml_dtypes
import numpy as np
import pytest
from pth_pieces import DTYPES, assert_same, random_bits

from jaxseg.pth import PthError, read_pth, write_pth

torch = pytest.importorskip("torch", reason="needs PyTorch, to compare with")

CHECKPOINTS = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "checkpoints"


def as_numpy(tensor) -> np.ndarray:
    """A torch tensor as an array, by its bits."""
    if tensor.dtype == torch.bfloat16:
        return tensor.detach().contiguous().view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return tensor.detach().contiguous().numpy()


def network():
    """Every kind of layer a U-Net has."""
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ConvTranspose2d(4, 2, 2),
        torch.nn.Linear(2, 2),
    ]
    return torch.nn.Sequential(*layers, torch.nn.GroupNorm(1, 2), torch.nn.LSTM(2, 3))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pytorch_reads_every_bit_that_is_written(tmp_path, dtype):
    expected = {str(shape): random_bits(dtype, shape) for shape in [(), (0, 3), (1,), (5, 7), (2, 3, 4, 5)]}
    write_pth(tmp_path / "x.pth", expected)
    for mmap in (False, True):
        loaded = torch.load(tmp_path / "x.pth", weights_only=True, mmap=mmap)
        assert type(loaded) is collections.OrderedDict
        assert_same({name: as_numpy(value) for name, value in loaded.items()}, expected)
        assert all(value.is_contiguous() for value in loaded.values())


def test_pytorch_reads_records_with_the_headers_of_large_files(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)  # as if the records were larger than 2 GB
    expected = {"w": np.arange(100, dtype=np.float32)}
    write_pth(tmp_path / "x.pth", expected)
    for mmap in (False, True):
        loaded = torch.load(tmp_path / "x.pth", weights_only=True, mmap=mmap)
        assert_same({name: as_numpy(value) for name, value in loaded.items()}, expected)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_bit_that_pytorch_writes_is_read(tmp_path, dtype, zipped):
    expected = {str(shape): random_bits(dtype, shape) for shape in [(), (0, 3), (1,), (5, 7), (2, 3, 4, 5)]}
    as_torch = getattr(torch, dtype.name)
    bare = {np.dtype(ml_dtypes.bfloat16): np.uint16}.get(dtype, dtype)
    value = {name: torch.from_numpy(array.view(bare)).view(as_torch) for name, array in expected.items()}
    torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert_same(read_pth(tmp_path / "x.pt").tensors, expected)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_state_dict_goes_both_ways(tmp_path, zipped, protocol):
    model = network()
    state = model.state_dict()
    torch.save(state, tmp_path / "theirs.pth", _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    checkpoint = read_pth(tmp_path / "theirs.pth")
    assert_same(checkpoint.tensors, {name: as_numpy(value) for name, value in state.items()})
    assert (checkpoint.unwrapped, checkpoint.extra) == ((), {})
    write_pth(tmp_path / "ours.pth", checkpoint.tensors)
    back = torch.load(tmp_path / "ours.pth", weights_only=True)
    assert list(back) == list(state)
    network().load_state_dict(back, strict=True)
    assert all(torch.equal(back[name], state[name]) and back[name].dtype == state[name].dtype for name in state)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_pytorch_wraps_around_weights(tmp_path, zipped):
    model = torch.nn.DataParallel(network())
    base = torch.arange(24.0).reshape(4, 6)
    attributed = torch.ones(2)
    attributed.note = "extra"
    weights = {
        **model.state_dict(),
        "module.transposed": base.t(),
        "module.sliced": base[1:3, ::2],
        "module.expanded": base[:1].expand(3, 6),
        "module.parameter": torch.nn.Parameter(base),
        "module.attributed": attributed,
    }
    optimizer = torch.optim.Adam(model.parameters())
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    value = {
        "epoch": 7,
        "best": np.float64(0.5),
        "args": argparse.Namespace(lr=0.1, out=pathlib.PosixPath("runs")),
        "shape": torch.Size([3, 4]),
        "device": torch.device("cuda", 0),
        "dtype": torch.bfloat16,
        "counts": collections.Counter("aab"),
        "classes": ["background", "cat"],
        "optimizer": optimizer.state_dict(),
        "model_state_dict": weights,
    }
    torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    checkpoint = read_pth(tmp_path / "x.pt")
    assert checkpoint.unwrapped == ("model_state_dict", "module.")
    assert checkpoint.extra == {"epoch": 7, "shape": (3, 4), "classes": ["background", "cat"]}
    expected = {name.removeprefix("module."): as_numpy(tensor) for name, tensor in weights.items()}
    assert_same(checkpoint.tensors, expected)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.filterwarnings("ignore")
def test_a_whole_pickled_model_is_refused_with_advice(tmp_path, zipped):
    torch.save(network(), tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(PthError, match=r"torch.save\(model.state_dict\(\), path\)"):
        read_pth(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused_with_advice(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "x.pt")
    with pytest.raises(PthError, match="TorchScript"):
        read_pth(tmp_path / "x.pt")


@pytest.mark.skipif(not CHECKPOINTS.is_dir(), reason="needs the published checkpoints in ../shared/data/checkpoints")
def test_published_checkpoints_are_read_as_pytorch_reads_them():
    paths = sorted(CHECKPOINTS.glob("*.pt*"))
    assert paths
    for path in paths:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        assert_same(read_pth(path).tensors, {name: as_numpy(value) for name, value in loaded.items()})
