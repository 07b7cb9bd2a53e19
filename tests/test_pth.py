"""Checkpoint files are exact both ways, those that write_pth writes and those put together by hand."""

import os
import struct
import zipfile

import numpy as np
import pytest
from pth_pieces import (
    DTYPES,
    SIX,
    archive,
    assert_same,
    function,
    legacy,
    mapping,
    number,
    numbers,
    random_bits,
    storage,
    tensor,
    text,
)

from jaxseg.pth import PthError, read_pth, write_pth

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
    for first, count in ((4, 3), (-1, 3), (2, -1)):
        beyond = storage(view=b"(" + text("1") + number(first) + number(count) + b"t")
        legacy(tmp_path / "x.pth", mapping(w=tensor(0, (1,), (1,), beyond)))
        with pytest.raises(PthError, match="makes no sense"):
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
    inner = mapping(w=tensor(), mask_values=b"](K\x00K\xffe", long=b"](" + b"N" * 300 + b"e")
    archive(
        tmp_path / "x.pth", mapping(state_dict=inner, epoch=number(3), loss=b"G" + struct.pack(">d", 0.25), best=b"N")
    )
    checkpoint = read_pth(tmp_path / "x.pth")
    assert list(checkpoint.tensors) == ["w"]
    assert checkpoint.extra == {"epoch": 3, "loss": 0.25, "best": None, "mask_values": [0, 255]}
