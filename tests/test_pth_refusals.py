"""Files that are no checkpoints, make no sense or ask for too much: each is refused with its reason."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from pth_pieces import MAGIC, SIX, archive, function, legacy, mapping, number, storage, tensor, text

from jaxseg.pth import PthError, read_pth, write_pth

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
    "two sizes of a storage": (mapping(a=tensor(), b=tensor(stored=storage(total=5))), "makes no sense"),
    "two types of a storage": (mapping(a=tensor(), b=tensor(stored=storage(kind="torch.IntStorage"))), "no sense"),
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
    "takes from below a mark": (b"}N(\x86t\x86", "makes no sense"),
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
    for length in range(0, len(whole), 3):
        (tmp_path / "x.pth").write_bytes(whole[:length])
        with pytest.raises(PthError):
            read_pth(tmp_path / "x.pth")


def test_flipped_bits_in_an_archive_never_go_unnoticed(tmp_path):
    write_pth(tmp_path / "x.pth", {"w": SIX})
    whole = (tmp_path / "x.pth").read_bytes()
    refused = 0
    for place in range(0, len(whole), 3):
        (tmp_path / "x.pth").write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            (array,) = read_pth(tmp_path / "x.pth").tensors.values()
            assert array.tobytes() == SIX.tobytes()
        except PthError:
            refused += 1
    assert refused > len(whole) / 9


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
    "deep list": b"]" * 20_000 + b"a" * 19_999,
    "deep tuple": b")" + b"\x85" * 20_000,
    "many dictionaries": b"(" + b"}" * 200_000 + b"t",
    "too many instructions": b"N0" * 2_000_000,
    "calls within calls": (
        function("torch._tensor._rebuild_from_type_v2")
        + (b"q\x00(h\x00" + function("torch.Tensor") + b"q\x01")
        + (b"(h\x00h\x01" * 20_000 + b")" + b"Nt" * 20_000)
        + b"NtR"
    ),
    "long keys": mapping(
        **{name: tensor(stored=storage(key="k" * 10**6)) for name in "ab"},
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_go_off_harmlessly(tmp_path, name):
    archive(tmp_path / "x.pth", BOMBS[name])
    with pytest.raises(PthError) as caught:
        read_pth(tmp_path / "x.pth")
    assert len(str(caught.value)) < 1000


def test_a_list_becomes_a_dictionary_once(tmp_path):
    """Or a long list, named again and again, would be copied again and again."""
    ordered = function("collections.OrderedDict") + b"q\x00](](" + text("w") + tensor() + b"ee\x85q\x01R"
    archive(tmp_path / "x.pth", mapping(text("first") + ordered + text("second") + b"h\x00h\x01R"))
    assert read_pth(tmp_path / "x.pth").unwrapped == ("first",)


def test_a_name_of_many_prefixes_is_read(tmp_path):
    archive(tmp_path / "x.pth", mapping(**{"module." * 20_000 + "w": tensor()}))
    assert read_pth(tmp_path / "x.pth").unwrapped == ("module.",) * 4
