"""Checkpoint files: exact both ways, against PyTorch and by hand; anything else is refused and nothing in it runs."""

import argparse
import collections
import io
import os
import pathlib
import pickle
import struct
import zipfile
import zlib

import ml_dtypes
import numpy as np
import pytest

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
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)


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


# Checkpoints put together by hand. A pickle is assembled from these pieces of protocol 2.


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def numbers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def function(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def storage(key="0", kind="torch.FloatStorage", total=6, view=b"") -> bytes:
    return b"(" + text("storage") + function(kind) + text(key) + text("cpu") + number(total) + view + b"tQ"


def tensor(offset=0, shape=(2, 3), strides=(3, 1), stored=None, rest=b"") -> bytes:
    stored = storage() if stored is None else stored
    arguments = stored + number(offset) + numbers(shape) + numbers(strides) + b"\x89" + b"}" + rest
    return function("torch._utils._rebuild_tensor_v2") + b"(" + arguments + b"tR"


def mapping(*items: bytes, **named: bytes) -> bytes:
    return b"}(" + b"".join([*items, *(text(name) + value for name, value in named.items())]) + b"u"


SIX = np.arange(6, dtype=np.float32)


def archive(path, value: bytes, storages=(SIX,), order="little", compression=zipfile.ZIP_STORED, **records) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("top/data.pkl", b"\x80\x02" + value + b".")
        file.writestr("top/byteorder", order)
        for key, array in enumerate(storages):
            file.writestr(f"top/data/{key}", array.tobytes())
        for name, content in records.items():
            file.writestr(f"top/{name}", content)


def legacy(path, value: bytes, storages=None, counts=None) -> None:
    storages = {"0": SIX} if storages is None else storages
    with open(path, "wb") as file:
        file.write(MAGIC + b"\x80\x02" + value + b"." + pickle.dumps(list(storages), 2))
        for key, array in storages.items():
            file.write(struct.pack("<q", (counts or {}).get(key, array.size)) + array.tobytes())


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
        assert array.flags.writeable and array.flags.owndata or array.base.flags.owndata
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
    [("w", np.zeros(2, complex), "complex128"), ("w", np.array(["a"]), "<U1"), (3, SIX, "is 3"), ("w", None, "object")],
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
    "one": (tensor(offset=5, shape=(1, 1), strides=(2**50, 7)), SIX[5:].reshape(1, 1)),
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


# What is refused, and how.

REFUSED_VALUES = {
    "reaches past the storage": (mapping(w=tensor(offset=1)), "reaches 28 bytes into a storage of 24"),
    "stride past the storage": (mapping(w=tensor(strides=(4, 1))), "reaches 28 bytes"),
    "negative offset": (mapping(w=tensor(offset=-1)), "not whole numbers from 0 up"),
    "negative stride": (mapping(w=tensor(strides=(-3, 1))), "not whole numbers from 0 up"),
    "negative size": (mapping(w=tensor(shape=(-2, 3))), "not whole numbers from 0 up"),
    "huge offset": (mapping(w=tensor(offset=2**63)), "not whole numbers"),
    "wrapping strides": (mapping(w=tensor(strides=(2**61, 2**61))), "reaches"),
    "absurd expansion": (mapping(w=tensor(shape=(2**20, 2**20), strides=(0, 0))), r"more than .* bytes"),
    "absurd empty": (mapping(w=tensor(shape=(0, 2**61, 2**61), strides=(0, 0, 0))), r"more than .* bytes"),
    "many expansions": (
        mapping(*(text(str(i)) + tensor(shape=(2**20,), strides=(0,)) for i in range(40))),
        r"more than .* bytes",
    ),
    "too many dimensions": (mapping(w=tensor(shape=(1,) * 40, strides=(1,) * 40)), "40 sizes"),
    "missing stride": (mapping(w=tensor(strides=(1,))), "2 sizes and 1 strides"),
    "claims more elements": (
        mapping(w=tensor(stored=storage(total=7))),
        "7 elements of float32, 28 bytes, but stores 24",
    ),
    "claims fewer elements": (mapping(w=tensor(0, (1,), (1,), storage(total=1))), "stores 24"),
    "claims a negative number": (mapping(w=tensor(stored=storage(total=-6))), "damaged"),
    "claims an absurd number": (mapping(w=tensor(stored=storage(total=2**63))), "damaged"),
    "unknown storage": (mapping(w=tensor(stored=storage(key="../../etc/passwd"))), "passwd"),
    "two claims on a storage": (mapping(a=tensor(), b=tensor(stored=storage(total=5))), "damaged"),
    "same name twice": (mapping(text("w") + tensor(), text("w") + tensor()), "name w twice"),
    "conjugated": (mapping(w=tensor(rest=mapping(conj=b"\x88"))), "conjugated"),
    "no tensors": (mapping(epoch=number(3)), "no tensors by name .it has epoch"),
    "empty": (b"}", "no tensors by name .it has nothing"),
    "a tensor alone": (tensor(), "holds a Tensor"),
    "a list": (b"](" + tensor() + b"e", "holds a list"),
    "numbers for names": (b"}(K\x01" + tensor() + b"u", "under numbers"),
    "several groups": (mapping(encoder=mapping(a=tensor()), decoder=mapping(a=tensor())), "encoder, decoder"),
    "a loop": (b"}q\x00" + text("model") + b"h\x00s", "no tensors by name"),
    "a loop with a tensor": (b"}q\x00(" + text("model") + b"h\x00" + text("w") + tensor() + b"u", "holds a dict"),
    "a tuple for a key": (b"})N\x85K\x01s", "damaged|for a key"),
    "a huge number for a key": (b"}" + number(2**64) + b"Ns", "int for a key"),
    "sparse": (function("torch._utils._rebuild_sparse_tensor"), "asks to call torch._utils._rebuild_sparse_tensor"),
    "set": (b"\x8f", "instruction b'.x8f'"),
}


@pytest.mark.parametrize("name", REFUSED_VALUES)
def test_values_that_make_no_sense_are_refused(tmp_path, name):
    value, says = REFUSED_VALUES[name]
    archive(tmp_path / "x.pth", value)
    with pytest.raises(PthError, match=says) as caught:
        read_pth(tmp_path / "x.pth")
    assert str(caught.value).startswith(str(tmp_path / "x.pth"))
    if "stores" not in says and "passwd" not in says:
        legacy(tmp_path / "x.pth", value)
        with pytest.raises(PthError):
            read_pth(tmp_path / "x.pth")


def jpeg() -> bytes:
    return b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100)


def tar() -> bytes:
    return b"sys_info".ljust(257, b"\0") + b"ustar".ljust(255, b"\0")


def npz() -> bytes:
    np.savez(buffer := io.BytesIO(), a=SIX)
    return buffer.getvalue()


NO_CHECKPOINTS = {
    "empty": (b"", "is empty"),
    "jpeg": (jpeg(), "JPEG image"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG image"),
    "text": (b"epoch 1 loss 0.5\n" * 20, "a text, which begins with b'epoch 1"),
    "html": (b"\n<!DOCTYPE html><html><body>Sign in", "a web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git lfs pull"),
    "safetensors": (struct.pack("<Q", 60) + b'{"w":{"dtype":"F32"}}' + bytes(40), "safetensors file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
    "gzip": (b"\x1f\x8b" + bytes(50), "gzip"),
    "tar": (tar(), "tar archive"),
    "npz": (npz(), "a.npy"),
    "random": (bytes(range(256)), "begins with"),
    "other pickle": (pickle.dumps({"a": 1}, 4), "a pickle, but not one of torch.save"),
    "only the magic": (MAGIC, "ends in the middle"),
    "other protocol": (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1002, 2), "format"),
}


@pytest.mark.parametrize("name", NO_CHECKPOINTS)
def test_other_files_are_named_for_what_they_are(tmp_path, name):
    content, says = NO_CHECKPOINTS[name]
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ValueError, match=says):
        read_pth(tmp_path / "x.pth")


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(PthError, match="is a folder"):
        read_pth(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_pth(tmp_path / "no.pth")


@pytest.mark.parametrize("container", [archive, legacy])
def test_every_truncation_is_refused(tmp_path, container):
    container(tmp_path / "x.pth", mapping(w=tensor()))
    whole = (tmp_path / "x.pth").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "x.pth").write_bytes(whole[:length])
        with pytest.raises(PthError):
            read_pth(tmp_path / "x.pth")


def test_flipped_bits_in_an_archive_never_go_unnoticed(tmp_path):
    write_pth(tmp_path / "x.pth", {"w": SIX})
    whole = (tmp_path / "x.pth").read_bytes()
    refused = 0
    for place in range(len(whole)):
        (tmp_path / "x.pth").write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            assert_same(read_pth(tmp_path / "x.pth").tensors, {"w": SIX})
        except PthError:
            refused += 1
    assert refused > len(whole) / 3


def test_compressed_duplicate_and_misleading_records(tmp_path):
    path = tmp_path / "x.pth"
    zeros = np.zeros(2**20, np.float32)
    bomb = mapping(w=tensor(0, (2**20,), (1,), storage(total=2**20)))
    archive(path, bomb, [zeros], compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(PthError, match=r"neither compresses.*zip -0"):
        read_pth(path)
    archive(path, mapping(w=tensor()), [SIX], compression=zipfile.ZIP_DEFLATED, padding=os.urandom(1000))
    with pytest.raises(PthError, match=r"compressed.*zip -0"):
        read_pth(path)
    archive(path, mapping(w=tensor()), [SIX, SIX], order="middle")
    with pytest.raises(PthError, match="byte order as b'middle'"):
        read_pth(path)
    archive(path, mapping(w=tensor()), [SIX, SIX], **{"constants.pkl": b""})
    with pytest.raises(PthError, match="TorchScript"):
        read_pth(path)
    archive(path, mapping(w=tensor()), [SIX, SIX])
    path.write_bytes(path.read_bytes().replace(b"top/data/1", b"top/data/0"))
    with pytest.raises(PthError, match="two records of one name"):
        read_pth(path)


def test_legacy_storages_must_be_those_of_the_tensors(tmp_path):
    path = tmp_path / "x.pth"
    for counts in (5, 7, -1, 2**62):
        legacy(path, mapping(w=tensor()), counts={"0": counts})
        with pytest.raises(PthError, match="but stores"):
            read_pth(path)
    legacy(path, mapping(w=tensor()), storages={})
    with pytest.raises(PthError, match="lacks the bytes"):
        read_pth(path)
    legacy(path, mapping(w=tensor()), storages={"0": SIX, "1": SIX})
    with pytest.raises(PthError, match="that no tensor uses"):
        read_pth(path)
    legacy(path, mapping(w=tensor(stored=storage(total=2**61))), counts={"0": 2**61})
    with pytest.raises(PthError, match="cut short"):
        read_pth(path)


# Bombs: small files that ask for much memory or time.

BOMBS = {
    "length of a text": b"X\xff\xff\xff\xff",
    "length of long bytes": b"\x8e" + b"\xff" * 8,
    "memo far away": b"Nr\xff\xff\xff\xff",
    "doubling tuples": b"N" + b"q\x00h\x00\x86" * 1000,
    "doubling keys": b"}" + b"N" + b"q\x00h\x00\x86" * 1000 + b"Ns",
    "deep list": b"]" * 100_000 + b"a" * 99_999,
    "deep tuple": b")" + b"\x85" * 100_000,
    "many dictionaries": b"(" + b"}" * 1_000_000 + b"t",
    "too many instructions": b"N0" * 2_000_000,
    "calls within calls": (
        function("torch._tensor._rebuild_from_type_v2")
        + (b"q\x00(h\x00" + function("torch.Tensor") + b"q\x01")
        + (b"(h\x00h\x01" * 100_000 + b")" + b"Nt" * 100_000)
        + b"NtR"
    ),
    "prefixes": mapping(**{"module." * 100_000: tensor()}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_go_off_harmlessly(tmp_path, name):
    archive(tmp_path / "x.pth", BOMBS[name])
    try:
        read_pth(tmp_path / "x.pth")
    except PthError as error:
        assert len(str(error)) < 1000
    else:
        assert name == "prefixes"


# Files that would run code in Python's own pickle. The canary is a folder that their code would make.


class Evil:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Stateful:
    def __reduce__(self):
        return Stateful, (), {"a": 1}

    def __setstate__(self, state):
        raise AssertionError("ran code from the file")


def attacks(canary: pathlib.Path) -> dict[str, bytes]:
    command = f"mkdir {canary}"
    call = text(command) + b"\x85R"
    stock = {
        f"{name} in protocol {protocol}": pickle.dumps(evil, protocol)
        for protocol in range(6)
        for name, evil in {
            "os.system": Evil(os.system, command),
            "os.mkdir": Evil(os.mkdir, str(canary)),
            "eval": Evil(eval, f"__import__('os').mkdir({str(canary)!r})"),
            "in a dictionary": {"state_dict": {"w": Evil(os.system, command)}},
        }.items()
    }
    by_hand = {
        "global": b"cos\nsystem\n" + call,
        "stack global": b"\x8c\x02os\x8c\x06system\x93" + call,
        "inst": b"(" + text(command) + b"ios\nsystem\n",
        "obj": b"(cos\nsystem\n" + text(command) + b"o",
        "newobj": b"csubprocess\nPopen\n" + b"](" + text("mkdir") + text(str(canary)) + b"e\x85\x81",
        "newobj_ex": b"csubprocess\nPopen\n" + b"](" + text("mkdir") + text(str(canary)) + b"e\x85}\x92",
        "extension 1": b"\x82\x01" + call,
        "extension 2": b"\x83\x01\x00" + call,
        "extension 4": b"\x84\x01\x00\x00\x00" + call,
        "dotted": b"\x8c\x08builtins\x8c\x0deval.__call__\x93" + call,
        "through an allowed module": b"\x8c\x05torch\x8c\x09os.system\x93" + call,
        "through collections": b"ccollections\n_sys.modules\n" + call,
        "getattr": b"c__builtin__\ngetattr\n(cos\n__dict__\n" + text("system") + b"tR" + call,
        "a text that is called": text("os.system") + call,
        "a tensor that is called": tensor() + call,
        "a persistent id that is called": b"(" + text("module") + text("os.system") + b"tQ" + call,
        "a persistent text": b"Pos.system\n",
        "subclass": function("torch._tensor._rebuild_from_type_v2") + b"(cos\nsystem\n" + call + b"tR",
        "argument of a rebuild": function("torch._utils._rebuild_parameter") + b"(cos\nsystem\n" + call + b"\x88}tR",
        "state of a tensor": tensor() + b"}" + text("__class__") + b"cos\nsystem\nsb",
        "state of a name": b"ctorch\nTensor\n}" + text("__call__") + text("os.system") + b"sb",
        "state of a list": b"]}" + text("__setstate__") + text("os.system") + b"sb",
        "slots state": b"}(N}" + text("__class__") + text("x") + b"stb",
    }
    others = {
        "setstate": pickle.dumps(Stateful()),
        "array": pickle.dumps(np.arange(3), 2),
        "array in protocol 5": pickle.dumps(np.arange(3), 5),
        "reconstructor": b"ccopy_reg\n_reconstructor\n(c__main__\nUNet\nc__builtin__\nobject\nNtR}b",
    }
    return {name: b"\x80\x02" + code + b"." for name, code in by_hand.items()} | stock | others


ATTACKS = list(attacks(pathlib.Path("canary")))


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused_and_nothing_runs(tmp_path, name):
    attack = attacks(tmp_path / "canary")[name]
    for place in range(4):
        path = tmp_path / "x.pth"
        if place == 0:
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("top/data.pkl", attack)
        elif place == 1:
            archive(path, mapping(w=tensor(), evil=attack.removeprefix(b"\x80\x02").removesuffix(b".")))
        elif place == 2:
            path.write_bytes(MAGIC + attack)
        else:
            path.write_bytes(attack)
        with pytest.raises(PthError):
            read_pth(path)
        assert not (tmp_path / "canary").exists()


def test_the_attacks_are_real(tmp_path):
    for name in (
        "os.system in protocol 2",
        "os.mkdir in protocol 4",
        "eval in protocol 0",
        "global",
        "stack global",
        "inst",
    ):
        pickle.loads(attacks(tmp_path / "canary")[name])
        (tmp_path / "canary").rmdir()


def test_a_refusal_names_what_was_asked_for(tmp_path):
    archive(tmp_path / "model.pth", b"cos\nsystem\n" + text("true") + b"\x85R")
    with pytest.raises(PthError) as caught:
        read_pth(tmp_path / "model.pth")
    expected = f"{tmp_path}/model.pth asks to call os.system; jaxseg reads tensors only and runs no code from a file."
    assert str(caught.value) == expected


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
