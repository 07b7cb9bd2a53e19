"""A sealed folder shows every change of every file."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from harm import HARMS, flip

from jaxseg.digests import DIGESTS, faults, seal

NAMES = ("a", "b/c  d", "b/e/f", "g.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for name in NAMES:
        path = tmp_path / "sealed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw.bytes(int(draw.integers(1, 300))))
    seal(tmp_path / "sealed")
    return tmp_path / "sealed"


def test_as_written_it_is_intact_and_sha256sum_agrees(folder: Path) -> None:
    assert faults(folder) == []
    assert subprocess.run(["sha256sum", "--check", "--strict", "--quiet", DIGESTS], cwd=folder).returncode == 0
    (folder / "extra").write_text("what was put beside them does no harm")
    assert faults(folder) == []


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", [*NAMES, DIGESTS])
def test_each_harm_to_each_file_is_named(folder: Path, name: str, harm: str) -> None:
    HARMS[harm](folder / name)
    (found,) = faults(folder)
    assert found.startswith(f"{name} ")
    if name != DIGESTS:
        words = {"remove": "is missing", "empty": "is empty"}
        assert words.get(harm, "has changed since it was written") in found
        assert faults(folder, "b/") == ([found] if name.startswith("b/") else [])


def test_every_byte_counts_of_the_digests_too(folder: Path) -> None:
    for name in ("a", DIGESTS):
        whole = (folder / name).read_bytes()
        for at in range(len(whole)):
            flip(folder / name, at)
            assert faults(folder), (name, at)
            (folder / name).write_bytes(whole)
    (folder / DIGESTS).write_bytes((folder / DIGESTS).read_bytes().replace(b"\n", b"\r"))
    assert faults(folder)


def test_a_folder_in_a_files_place_is_no_file(folder: Path) -> None:
    (folder / "a").unlink()
    (folder / "a").mkdir()
    (folder / "b/e/f").unlink()
    (folder / "b/e").rmdir()
    (folder / "b/e").write_text("a file in a folder's place")
    assert faults(folder) == ["a is missing", "b/e/f is missing"]


def test_all_is_on_disk_before_it_is_called_sealed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.readlink(f"/proc/self/fd/{handle}")))
    (folder / DIGESTS).unlink()
    seal(folder)
    expected = {str(folder / name) for name in (*NAMES, DIGESTS, "b", "b/e")} | {str(folder)}
    assert set(synced) == expected
    assert synced.index(str(folder / DIGESTS)) > max(synced.index(str(folder / name)) for name in NAMES)
