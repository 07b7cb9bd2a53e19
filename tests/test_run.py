"""Files of a run are whole or not there."""

import json
import os
from pathlib import Path

import pytest
from disks import Disk, disk  # noqa: F401  the fixture

from jaxseg.run import drop_unfinished_line, read_lines, write_json, write_whole


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    write_json(path, {"a": 1})

    def fail(file: Path) -> None:
        file.write_text("{")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    disk: Disk,  # noqa: F811
) -> None:
    path = disk.path / "model.json"
    write_json(path, {"a": 1})
    disk.fill(leave=4096)
    with pytest.raises(OSError, match="No space left") as caught:
        write_json(path, {"a": ["0123456789"] * 1000})
    assert caught.value.filename == str(path)
    assert json.loads(path.read_text()) == {"a": 1}
    disk.empty()
    assert list(disk.path.iterdir()) == [path]


@pytest.mark.parametrize("durable", [True, False])
def test_content_is_on_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    path, calls = tmp_path / "model.json", []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append(os.readlink(f"/proc/self/fd/{handle}")))
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append("renamed"), replace(old, new)))
    write_whole(path, lambda file: file.write_text("new"), durable=durable)
    if durable:
        draft, renamed, folder = calls
        assert draft.startswith(str(tmp_path / ".model-"))
        assert (renamed, folder) == ("renamed", str(tmp_path))
    else:
        assert calls == ["renamed"]


def test_written_files_have_the_rights_of_ordinary_ones(tmp_path: Path) -> None:
    (tmp_path / "ordinary").write_text("")
    write_json(tmp_path / "deep" / "er" / "ours.json", [])
    ours, ordinary = (os.stat(tmp_path / name).st_mode for name in ("deep/er/ours.json", "ordinary"))
    assert ours == ordinary


def test_a_line_cut_off_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_lines(path) == [{"step": 1}, {"step": 2}]
    assert read_lines(tmp_path / "absent") == []


@pytest.mark.parametrize(("torn", "mended"), [('{"a": 1}\n{"b', '{"a": 1}\n'), ('{"b', ""), ("", ""), ("{}\n", "{}\n")])
def test_what_a_crash_left_of_a_line_goes(tmp_path: Path, torn: str, mended: str) -> None:
    path = tmp_path / "faults.jsonl"
    drop_unfinished_line(path)
    assert not path.exists()
    path.write_text(torn)
    drop_unfinished_line(path)
    assert path.read_text() == mended
