"""Checkpoint files are exact both ways: by themselves, put together by hand, and against PyTorch."""

import argparse
import collections
import os
import pathlib
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from pth_pieces import SIX, archive, function, legacy, mapping, number, numbers, storage, tensor, text

from jaxseg.pth import PthError, read_pth, write_pth

try:
    import torch
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="needs PyTorch, to compare with")
CHECKPOINTS = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "checkpoints"
DTYPES = [
    *(np.dtype(name) for name in ("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")),
    *(np.dtype(name) for name in ("float16", "float32", "float64")),
    np.dtype(ml_dtypes.bfloat16),
]


def random_bits(dtype: np.dtype, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Every bit pattern can occur, so NaNs with payloads do."""
    bits = np.random.default_rng(seed).integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    if dtype == np.bool_:
        bits %= 2
    return bits.view(dtype)[..., 0]


def bits(array: np.ndarray) -> bytes:
    return np.asarray(array).tobytes()


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert bits(found[name]) == bits(array), name


def as_numpy(tensor) -> np.ndarray:
    """A torch tensor as an array, by its bits."""
    if tensor.dtype == torch.bfloat16:
        return tensor.detach().contiguous().view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return tensor.detach().contiguous().numpy()


# What write_pth writes, read_pth reads.


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (5, 7), (2, 3, 4, 5)], ids=str)
def test_round_trip_keeps_every_bit(tmp_path, dtype, shape):
    expected = {"b": random_bits(dtype, shape), "a": random_bits(dtype, shape, seed=1)}
    write_pth(tmp_path / "x.pth", expected)
    checkpoint = read_pth(tmp_path / "x.pth")
    assert_same(checkpoint.tensors, expected)
    assert (checkpoint.unwrapped, checkpoint.extra) == ((), {})
    for array in checkpoint.tensors.values():
        assert array.flags.writeable
        assert array.flags.c_contiguous


def test_memory_layout_and_byte_order_of_the_input_do_not_show(tmp_path):
    plain = np.arange(24, dtype=np.float32).reshape(4, 6)
    variants = {"f": np.asfortranarray(plain), "big": plain.astype(">f4"), "step": np.repeat(plain, 2, 1)[:, ::2]}
    write_pth(tmp_path / "x.pth", variants)
    assert_same(read_pth(tmp_path / "x.pth").tensors, dict.fromkeys(variants, plain))


def test_same_tensors_give_the_same_bytes_under_any_name(tmp_path):
    tensors = {"w": SIX, "n": np.array(3)}
    write_pth(tmp_path / "one.pth", tensors)
    write_pth(str(tmp_path / "two.pt"), tensors)
    assert (tmp_path / "one.pth").read_bytes() == (tmp_path / "two.pt").read_bytes()


@pytest.mark.parametrize("limit", [zipfile.ZIP64_LIMIT, 10], ids=["zip", "zip64"])
def test_records_are_plain_and_aligned(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)  # 10: as if the records were larger than 2 GB
    expected = {f"layer{size}": np.arange(size, dtype=np.float32) for size in (1, 3, 100)}
    write_pth(tmp_path / "x.pth", expected)
    monkeypatch.undo()
    data = (tmp_path / "x.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.pth") as file:
        assert file.testzip() is None
        for info in file.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            name, extra = struct.unpack("<HH", data[info.header_offset + 26 : info.header_offset + 30])
            assert (info.header_offset + 30 + name + extra) % 64 == 0
    assert_same(read_pth(tmp_path / "x.pth").tensors, expected)
    if torch is not None:
        assert list(torch.load(tmp_path / "x.pth", weights_only=True, mmap=True)) == list(expected)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("before", [b"", b"the weights of yesterday"], ids=["new", "existing"])
def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch, failing, before):
    if before:
        (tmp_path / "x.pth").write_bytes(before)

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="no space"):
        write_pth(tmp_path / "x.pth", {"w": SIX})
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([before] if before else [])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [("w", np.zeros(2, complex), "w is of type complex128"), ("bias", np.array(["a"]), "bias is of type <U1")],
)
def test_what_pytorch_has_no_type_for_is_not_written(tmp_path, name, value, says):
    with pytest.raises(PthError, match=says):
        write_pth(tmp_path / "x.pth", {name: value})
    assert not list(tmp_path.iterdir())


# Files put together by hand: the cases PyTorch no longer writes, or writes seldom.

VIEWS = {
    "whole": (tensor(), SIX.reshape(2, 3)),
    "transposed": (tensor(shape=(3, 2), strides=(1, 3)), SIX.reshape(2, 3).T),
    "sliced": (tensor(offset=1, shape=(2, 2), strides=(3, 1)), SIX.reshape(2, 3)[:, 1:]),
    "expanded": (tensor(offset=2, shape=(4, 3), strides=(0, 1)), np.tile(SIX[2:5], (4, 1))),
    "scalar": (tensor(offset=5, shape=(), strides=()), SIX[5].reshape(())),
    "empty": (tensor(offset=0, shape=(0, 4), strides=(4, 1)), np.zeros((0, 4), np.float32)),
    "one": (tensor(offset=5, shape=(1, 1), strides=(2**61, 7)), SIX[5:].reshape(1, 1)),
}


@pytest.mark.parametrize("container", [archive, legacy])
def test_views_of_one_storage(tmp_path, container):
    container(tmp_path / "x.pth", mapping(**{name: value for name, (value, _) in VIEWS.items()}))
    found = read_pth(tmp_path / "x.pth").tensors
    assert_same(found, {name: array for name, (_, array) in VIEWS.items()})
    found["whole"][:] = 9  # copies: nothing else changes, not even the file
    assert_same(read_pth(tmp_path / "x.pth").tensors, {name: array for name, (_, array) in VIEWS.items()})
    assert found["transposed"].max() == 5


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("torch.FloatStorage", "float32"), ("torch.LongStorage", "int64"), ("torch.ByteStorage", "uint8")],
)
def test_big_endian_storages(tmp_path, kind, dtype):
    values = np.arange(6).astype(dtype)
    swapped = values.astype(values.dtype.newbyteorder(">"))
    archive(tmp_path / "x.pth", mapping(w=tensor(stored=storage(kind=kind))), [swapped], order="big")
    assert_same(read_pth(tmp_path / "x.pth").tensors, {"w": values.reshape(2, 3)})


def test_any_byte_but_zero_is_true(tmp_path):
    stored = storage(kind="torch.BoolStorage")
    archive(tmp_path / "x.pth", mapping(w=tensor(stored=stored)), [np.array([0, 1, 2, 255, 0, 128], np.uint8)])
    found = read_pth(tmp_path / "x.pth").tensors["w"]
    assert found.tobytes() == bytes([0, 1, 1, 1, 0, 1])


def test_storage_views_of_old_pytorch(tmp_path):
    view = b"(" + text("1") + number(2) + number(3) + b"t"
    stored = storage(view=view)
    legacy(tmp_path / "x.pth", mapping(w=tensor(0, (3,), (1,), stored), all=tensor(stored=storage(view=b"N"))))
    assert_same(read_pth(tmp_path / "x.pth").tensors, {"w": SIX[2:5], "all": SIX.reshape(2, 3)})
    legacy(tmp_path / "x.pth", mapping(w=tensor(1, (3,), (1,), stored)))
    with pytest.raises(PthError, match="reaches 16 bytes into a storage of 12"):
        read_pth(tmp_path / "x.pth")


def test_python_2_names_and_dictionaries(tmp_path):
    weight = (
        function("torch._utils._rebuild_tensor") + b"(" + storage() + b"K\x00" + numbers([6]) + numbers([1]) + b"tR"
    )
    pairs = b"](](U\x06weight" + weight + b"e](U\x04bias" + tensor() + b"ee"
    value = function("collections.OrderedDict") + pairs + b"\x85R}U\x09_metadata}sb"
    legacy(tmp_path / "x.pth", value)
    assert_same(read_pth(tmp_path / "x.pth").tensors, {"weight": SIX, "bias": SIX.reshape(2, 3)})


def test_absent_checksums_are_not_compared(tmp_path):
    archive(tmp_path / "x.pth", mapping(w=tensor()))
    data = bytearray((tmp_path / "x.pth").read_bytes())
    at = 0
    while (at := data.find(b"PK\x01\x02", at) + 1) > 0:  # as torch.serialization.set_crc32_options(False) leaves them
        data[at + 15 : at + 19] = bytes(4)
    (tmp_path / "x.pth").write_bytes(data)
    assert_same(read_pth(tmp_path / "x.pth").tensors, {"w": SIX.reshape(2, 3)})


WRAPPED = {
    "plain": ({"a": tensor(), "b": tensor()}, ()),
    "state_dict": ({"epoch": number(3), "state_dict": mapping(a=tensor(), b=tensor())}, ("state_dict",)),
    "two layers": ({"model": mapping(state_dict=mapping(a=tensor(), b=tensor()))}, ("model", "state_dict")),
    "other name": ({"generator": mapping(a=tensor(), b=tensor()), "epoch": number(1)}, ("generator",)),
    "module": ({"module.a": tensor(), "module.b": tensor()}, ("module.",)),
    "compiled": ({"_orig_mod.module.a": tensor(), "_orig_mod.module.b": tensor()}, ("_orig_mod.", "module.")),
    "both": ({"model": mapping(**{"module.a": tensor(), "module.b": tensor()})}, ("model", "module.")),
    "optimizer": ({"optimizer": mapping(state=mapping(m=tensor())), "net": mapping(a=tensor(), b=tensor())}, ("net",)),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers_and_prefixes_are_taken_off_and_named(tmp_path, name):
    value, unwrapped = WRAPPED[name]
    archive(tmp_path / "x.pth", mapping(**value))
    checkpoint = read_pth(tmp_path / "x.pth")
    assert list(checkpoint.tensors) == ["a", "b"]
    assert checkpoint.unwrapped == unwrapped


def test_a_prefix_that_only_some_names_have_stays(tmp_path):
    archive(tmp_path / "x.pth", mapping(**{"module.a": tensor(), "b": tensor()}))
    assert list(read_pth(tmp_path / "x.pth").tensors) == ["module.a", "b"]


def test_plain_values_beside_the_tensors_are_kept(tmp_path):
    inner = mapping(w=tensor(), mask_values=b"](K\x00K\xffe")
    archive(
        tmp_path / "x.pth", mapping(state_dict=inner, epoch=number(3), loss=b"G" + struct.pack(">d", 0.25), best=b"N")
    )
    checkpoint = read_pth(tmp_path / "x.pth")
    assert list(checkpoint.tensors) == ["w"]
    assert checkpoint.extra == {"epoch": 3, "loss": 0.25, "best": None, "mask_values": [0, 255]}


# Against PyTorch.


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


@needs_torch
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pytorch_reads_every_bit_that_is_written(tmp_path, dtype):
    expected = {str(shape): random_bits(dtype, shape) for shape in [(), (0, 3), (1,), (5, 7), (2, 3, 4, 5)]}
    write_pth(tmp_path / "x.pth", expected)
    for mmap in (False, True):
        loaded = torch.load(tmp_path / "x.pth", weights_only=True, mmap=mmap)
        assert type(loaded) is collections.OrderedDict
        assert_same({name: as_numpy(value) for name, value in loaded.items()}, expected)
        assert all(value.is_contiguous() for value in loaded.values())


@needs_torch
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_bit_that_pytorch_writes_is_read(tmp_path, dtype, zipped):
    expected = {str(shape): random_bits(dtype, shape) for shape in [(), (0, 3), (1,), (5, 7), (2, 3, 4, 5)]}
    as_torch = getattr(torch, dtype.name)
    bare = {np.dtype(ml_dtypes.bfloat16): np.uint16}.get(dtype, dtype)
    value = {name: torch.from_numpy(array.view(bare)).view(as_torch) for name, array in expected.items()}
    torch.save(value, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert_same(read_pth(tmp_path / "x.pt").tensors, expected)


@needs_torch
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


@needs_torch
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


@needs_torch
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.filterwarnings("ignore")
def test_a_whole_pickled_model_is_refused_with_advice(tmp_path, zipped):
    torch.save(network(), tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(PthError, match=r"torch.save\(model.state_dict\(\), path\)"):
        read_pth(tmp_path / "x.pt")


@needs_torch
@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused_with_advice(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "x.pt")
    with pytest.raises(PthError, match="TorchScript"):
        read_pth(tmp_path / "x.pt")


@needs_torch
@pytest.mark.skipif(not CHECKPOINTS.is_dir(), reason="needs the published checkpoints in ../shared/data/checkpoints")
def test_published_checkpoints_are_read_as_pytorch_reads_them():
    paths = sorted(CHECKPOINTS.glob("*.pt*"))
    assert paths
    for path in paths:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        assert_same(read_pth(path).tensors, {name: as_numpy(value) for name, value in loaded.items()})
