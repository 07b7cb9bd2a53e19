"""safetensors files are exact both ways, agree with the `safetensors` package, and a broken one is refused."""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from jaxseg.tensors_file import DTYPES, TensorsError, read_safetensors, write_safetensors

TENSORS = {
    "z.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "flag": np.array([True, False, True]),
    "a.bias": np.array([1.5, -2, np.nan], ml_dtypes.bfloat16),
    "count": np.asarray(7, np.int64),
    "none": np.zeros((0, 5), np.float16),
}


def random_bits(dtype: np.dtype, count: int) -> np.ndarray:
    raw = np.random.default_rng(0).integers(0, 256, (count, dtype.itemsize), np.uint8)
    return (raw % 2 if dtype == np.bool_ else raw).view(dtype)[:, 0]


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_every_type_keeps_every_bit(dtype: np.dtype, tmp_path: Path) -> None:
    array = random_bits(dtype, 60).reshape(3, 4, 5)
    write_safetensors(tmp_path / "t", {"x": array, "strided": array[::2, :, ::-1]}, {})
    found = read_safetensors(tmp_path / "t").tensors
    assert_same(found, {"x": array, "strided": np.ascontiguousarray(array[::2, :, ::-1])})
    found["x"][0] = found["x"][1]  # a copy of one's own


def test_names_texts_and_their_order_are_kept(tmp_path: Path) -> None:
    metadata = {"classes": '["Hund", "猫"]', "b": "", "a": "1"}
    write_safetensors(tmp_path / "t", TENSORS, metadata)
    found = read_safetensors(tmp_path / "t")
    assert_same(found.tensors, TENSORS)
    assert list(found.tensors) == list(TENSORS)
    assert list(found.metadata.items()) == list(metadata.items())
    write_safetensors(tmp_path / "again", found.tensors, found.metadata)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "t").read_bytes()


def test_every_tensor_is_aligned(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "t", {"odd": np.zeros(3, np.uint8), "wide": np.zeros(2)}, {})
    raw = (tmp_path / "t").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    begin = json.loads(raw[8 : 8 + length])["wide"]["data_offsets"][0]
    assert (8 + length + begin) % 8 == 0


def test_big_endian_arrays_are_turned(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "t", {"x": np.arange(5, dtype=">f4")}, {})
    np.testing.assert_array_equal(read_safetensors(tmp_path / "t").tensors["x"], np.arange(5, dtype=np.float32))


def test_the_safetensors_package_reads_ours_and_we_read_its(tmp_path: Path) -> None:
    theirs = pytest.importorskip("safetensors", reason="needs safetensors, to compare with")
    from safetensors.numpy import load_file, save_file

    plain = {name: array for name, array in TENSORS.items() if name != "a.bias"}
    write_safetensors(tmp_path / "ours", plain, {"k": "v"})
    assert_same(load_file(tmp_path / "ours"), plain)
    with theirs.safe_open(tmp_path / "ours", "np") as file:
        assert file.metadata() == {"k": "v"}
    save_file(plain, tmp_path / "theirs", metadata={"k": "w"})
    found = read_safetensors(tmp_path / "theirs")
    assert_same(found.tensors, plain)
    assert found.metadata == {"k": "w"}


def test_pytorch_reads_half_precision(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch, to compare with")
    pytest.importorskip("safetensors", reason="needs safetensors, to compare with")
    from safetensors.torch import load_file

    write_safetensors(tmp_path / "t", TENSORS, {})
    found = load_file(tmp_path / "t")
    assert found["a.bias"].dtype == torch.bfloat16
    assert found["a.bias"].view(torch.uint16).numpy().tobytes() == TENSORS["a.bias"].tobytes()
    assert found["count"] == 7


def raw_file(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin: int, end: int, shape: object = (2,), dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


BROKEN = {
    "empty": (b"", "only 0 bytes"),
    "short": (b"PK\x03\x04", "only 4 bytes"),
    "a zip": (b"PK\x03\x04" + bytes(200), "its header would be"),
    "huge header": (raw_file({}, length=2**63), "its header would be"),
    "not JSON": (raw_file(b"{nonsense"), "not JSON"),
    "not text": (raw_file(b'{"\xff": 1}'), "not JSON"),
    "deep": (raw_file(b"[" * 200_000), "not JSON"),
    "a list": (raw_file([1]), "not a JSON object"),
    "a name twice": (raw_file(b'{"a": 1, "a": 2}'), "stands twice"),
    "no entry": (raw_file({"a": 5}), "is not a dtype"),
    "unknown type": (raw_file({"a": entry(0, 8, dtype="C64")}, bytes(8)), "of type 'C64'"),
    "type a list": (raw_file({"a": entry(0, 8, dtype=["F32"])}, bytes(8)), "of type"),
    "negative": (raw_file({"a": entry(0, 8, (-2,))}, bytes(8)), "can't be"),
    "a truth as size": (raw_file({"a": entry(0, 4, (True,))}, bytes(4)), "can't be"),
    "overflow": (raw_file({"a": entry(0, 0, (2**32, 2**32))}), "does not fill"),
    "shape and place": (raw_file({"a": entry(0, 8, (3,))}, bytes(8)), "does not fill"),
    "cut off": (raw_file({"a": entry(0, 8)}, bytes(7)), "cut off"),
    "more after": (raw_file({"a": entry(0, 8)}, bytes(9)), "damaged"),
    "overlap": (raw_file({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), "expected 8"),
    "hole": (raw_file({"a": entry(0, 8), "b": entry(12, 20)}, bytes(20)), "expected 8"),
    "metadata of numbers": (raw_file({"__metadata__": {"a": 1}}), "metadata"),
    "no truth": (raw_file({"a": entry(0, 2, dtype="BOOL")}, b"\1\2"), "neither 0 nor 1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_by_name_and_reason(name: str, tmp_path: Path) -> None:
    content, reason = BROKEN[name]
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(TensorsError, match=reason) as caught:
        read_safetensors(tmp_path / "weights.safetensors")
    assert "weights.safetensors" in str(caught.value)


def test_mutated_files_are_read_or_refused(tmp_path: Path, long: bool) -> None:
    write_safetensors(tmp_path / "t", TENSORS, {"k": "v"})
    whole, draw = (tmp_path / "t").read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(30_000 if long else 1_000):
        raw = bytearray(whole)
        for place in draw.integers(0, len(raw), draw.integers(1, 4)):
            raw[place] = draw.integers(0, 256)
        (tmp_path / "t").write_bytes(raw[: len(raw) - int(draw.integers(0, 2)) * int(draw.integers(0, 40))])
        try:
            read_safetensors(tmp_path / "t")
        except TensorsError:
            refused += 1
    assert refused > 100


def test_what_the_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(TensorsError, match="complex128"):
        write_safetensors(tmp_path / "t", {"x": np.zeros(2, complex)}, {})
    with pytest.raises(TensorsError, match="__metadata__"):
        write_safetensors(tmp_path / "t", {"__metadata__": np.zeros(2)}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(TensorsError, match="can't be read"):
            read_safetensors(path)
