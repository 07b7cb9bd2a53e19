"""What is written into a growing file is there in the end, once and in order, whatever the disk refused meanwhile."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disks import Disk, disk  # noqa: F401  the fixture

from jaxseg.growing import GrowingFile
from jaxseg.trouble import Troubles


def line(number: int) -> bytes:
    return f'{{"step": {number}, "loss": {"0123456789" * (number % 7)}}}\n'.encode()


def test_it_appends_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"before\n")
    file = GrowingFile(path, Troubles())
    for number in range(3):
        file.write(line(number))
    content = b"before\n" + b"".join(map(line, range(3)))
    assert path.read_bytes() == content
    assert file.secure() == len(content)
    file.close()
    assert path.read_bytes() == content


def test_a_full_disk_loses_and_doubles_no_line(
    disk: Disk,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, written = disk.path / "metrics.jsonl", b""
    file = GrowingFile(path, Troubles())
    for number in range(1000):
        file.write(line(number))
        written += line(number)
        if number == 100:
            file.secure()
            disk.fill(leave=17)
        if 300 < number < 320:
            with pytest.raises(OSError, match="No space left"):
                file.secure()
        if number == 500:
            disk.empty()
            assert file.secure() == len(written)
            disk.fill()
        if number in (200, 450, 700):  # a whole beginning, perhaps with a part of a line
            assert written.startswith(path.read_bytes())
            assert len(path.read_bytes()) < len(written)
    disk.empty()
    file.secure()
    assert path.read_bytes() == written
    told = capsys.readouterr().err.splitlines()
    assert [("No space left" in text, "written again" in text) for text in told] == [(True, False), (False, True)] * 2
    assert "Make room: " in told[0]
    assert "metrics.jsonl" in told[0]
    file.close()


def refused(error: OSError) -> Callable[..., Any]:
    def refuse(*_: object) -> None:
        raise error

    return refuse


@pytest.mark.parametrize("call", ["write", "fsync", "ftruncate"])
@pytest.mark.parametrize("number", [5, 13, 28, 30, 122])
def test_whatever_call_the_system_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """EIO, EACCES, ENOSPC, EROFS, EDQUOT."""
    file, written = GrowingFile(tmp_path / "lines", Troubles()), b""
    draw = np.random.default_rng(number)
    for step in range(200):
        with monkeypatch.context() as patch:
            if draw.random() < 0.5:
                patch.setattr(os, call, refused(OSError(number, os.strerror(number))))
                if call == "ftruncate":
                    patch.setattr(os, "fsync", refused(OSError(number, os.strerror(number))))
            file.write(line(step))
            written += line(step)
            if draw.random() < 0.3:
                try:
                    assert file.secure() == len(written)
                    assert (tmp_path / "lines").read_bytes() == written
                except OSError:
                    pass
    file.secure()
    file.close()
    assert (tmp_path / "lines").read_bytes() == written


def test_what_a_failed_fsync_may_have_lost_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk may drop the pages that it could not write, and tells so once."""
    path = tmp_path / "lines"
    file = GrowingFile(path, Troubles())
    file.write(line(0))
    file.secure()
    file.write(line(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refused(OSError(5, "Input/output error")))
        with pytest.raises(OSError, match="Input/output"):
            file.secure()
    assert path.read_bytes() == line(0)
    file.write(line(2))
    file.secure()
    assert path.read_bytes() == line(0) + line(1) + line(2)
    file.close()


@pytest.mark.parametrize("how", ["the file", "its folder", "replaced", "moved"])
def test_deleted_under_the_run_it_comes_back_whole(
    tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run" / "metrics.jsonl"
    path.parent.mkdir()
    file = GrowingFile(path, Troubles())
    file.write(line(0))
    file.secure()
    file.write(line(1))
    if how == "the file":
        path.unlink()
    elif how == "its folder":
        shutil.rmtree(path.parent)
    elif how == "replaced":
        path.unlink()
        path.write_text("something else")
    else:
        path.parent.rename(tmp_path / "elsewhere")
    file.write(line(2))
    assert file.secure() == len(line(0) + line(1) + line(2))
    assert path.read_bytes() == line(0) + line(1) + line(2)
    assert os.listdir(path.parent) == ["metrics.jsonl"]
    assert f"{path} was deleted or replaced" in capsys.readouterr().err
    file.close()
