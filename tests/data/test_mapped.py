"""Arrays come back from the file as they were, or not at all."""

import os
from pathlib import Path

import numpy as np
import pytest

from jaxseg.data import mapped
from jaxseg.data.mapped import Mapped, save
from jaxseg.errors import DataError

HEADER = {"name": "größe 写真", "list": [1, None, 2.5], "empty": {}}


def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "doubles": random.random((1000, 2)),
        "none": np.zeros((0, 4), np.int64),
        "bools": random.random(77) < 0.5,
        "one": np.array(7, np.int16),
        "bytes": np.frombuffer(b"abc", np.uint8),
        "strided": np.arange(100, dtype=np.int32)[::3],
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(tmp_path / "x.index", HEADER, arrays())
    return tmp_path / "x.index"


def test_arrays_come_back(path: Path) -> None:
    found = Mapped(path)
    assert found.header == HEADER
    assert list(found.arrays) == list(arrays())
    for name, array in arrays().items():
        assert (found.arrays[name].dtype, found.arrays[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].ctypes.data % 8 == 0


def test_arrays_can_not_be_written_to(path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        Mapped(path).arrays["doubles"][0] = 1


def test_arrays_outlive_what_opened_them_and_the_file_s_name(path: Path) -> None:
    found = Mapped(path)
    doubles = found.arrays["doubles"]
    path.unlink()
    assert found.rows("bytes", 0, 3).tolist() == [97, 98, 99]
    del found
    np.testing.assert_array_equal(doubles, arrays()["doubles"])


def test_every_truncation_is_seen(path: Path) -> None:
    whole = path.read_bytes()
    for length in [*range(200), *range(200, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises((ValueError, OSError)):
            Mapped(path)


@pytest.mark.parametrize("more", [b"\0", b"x" * 5000, b"]"])
def test_a_longer_file_is_seen(path: Path, more: bytes) -> None:
    path.write_bytes(path.read_bytes() + more)
    with pytest.raises(ValueError, match="does not end as it was written"):
        Mapped(path)


def test_a_changed_byte_is_seen(path: Path) -> None:
    """Wherever it is, but in the gaps between arrays, where nothing is."""
    whole = path.read_bytes()
    original, seen = Mapped(path), 0
    for place in range(0, len(whole), 13):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        try:
            found = Mapped(path)
        except (ValueError, OSError):
            seen += 1
            continue
        assert found.header == HEADER
        for name, array in original.arrays.items():
            np.testing.assert_array_equal(found.arrays[name], array)
    assert seen > 0.9 * len(whole) / 13


def test_large_arrays_are_not_looked_through(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening must not read gigabytes."""
    monkeypatch.setattr(mapped, "LARGE", 1000)
    save(path, HEADER, arrays())
    changed = bytearray(path.read_bytes())
    changed[5000] ^= 1  # in the doubles
    path.write_bytes(changed)
    assert np.count_nonzero(Mapped(path).arrays["doubles"] != arrays()["doubles"]) == 1


def private() -> int:
    """Kilobytes that belong to this process alone."""
    smaps = Path("/proc/self/smaps_rollup")
    if not smaps.exists():
        pytest.skip("needs Linux's /proc")
    lines = smaps.read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def test_a_process_that_walks_through_a_large_file_stays_small(tmp_path: Path) -> None:
    save(tmp_path / "x", {}, {"large": np.ones((4000, 1 << 13), np.uint8)})  # 33 MB
    before, most = private(), 0
    found = Mapped(tmp_path / "x")
    for n, row in enumerate(np.random.default_rng(0).permutation(4000).tolist()):
        assert found.rows("large", row, row + 1).all()
        if n % 400 == 0:
            most = max(most, private() - before)
    assert most < 2_000


def test_rows_are_those_of_the_map(path: Path) -> None:
    found = Mapped(path)
    for name in ("doubles", "none", "bools", "bytes", "strided"):
        array = arrays()[name]
        for first, last in ((0, 0), (0, len(array)), (len(array) // 3, len(array) // 2), (len(array), len(array))):
            rows = found.rows(name, first, last)
            assert (rows.dtype, rows.shape) == (array.dtype, array[first:last].shape)
            np.testing.assert_array_equal(rows, array[first:last])


def test_a_file_that_is_cut_while_in_use_is_told(path: Path) -> None:
    found = Mapped(path)
    os.truncate(path, 1000)
    with pytest.raises(DataError, match="was changed while it was in use"):
        found.rows("doubles", 500, 501)


def test_files_are_closed(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for _ in range(50):
        Mapped(path)
    assert before == 0 or len(os.listdir("/proc/self/fd")) <= before + 2
