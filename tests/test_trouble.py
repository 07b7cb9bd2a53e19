"""Each kind of trouble is told once, with what to do, and again when it comes back."""

import errno
import os
import re
from pathlib import Path

import pytest

from jaxseg.errors import told_plainly
from jaxseg.trouble import Troubles, advice, kind, reason

TENSORSTORE = ValueError(
    'RESOURCE_EXHAUSTED: Error writing "a/0.0": Failed to write 518538 bytes to file 4: '
    "No space left on device [os_error_code='28'] [source locations='x.cc:1']"
)


def test_the_systems_number_is_found_in_tensorstores_text() -> None:
    assert kind(TENSORSTORE) == errno.ENOSPC
    assert reason(TENSORSTORE) == "No space left on device"
    assert kind(OSError(errno.EDQUOT, "")) == errno.ENOSPC
    assert kind(ValueError("something else")) is None
    assert reason(ValueError("something else\nand more")) == "ValueError: something else"
    assert reason(RuntimeError()) == "RuntimeError: "


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "Make room: .* MiB are free"),
        (errno.EROFS, "mount it writable"),
        (errno.EACCES, "the right to read and write"),
        (errno.ENOENT, "was deleted or moved"),
        (errno.EIO, "the system's log"),
    ],
)
def test_each_kind_comes_with_what_to_do(tmp_path: Path, number: int, words: str) -> None:
    folder = tmp_path / "not" / "there"
    text = advice(OSError(number, os.strerror(number)), folder)
    assert re.search(words, text)
    assert str(folder) in text


def test_once_a_kind_until_it_is_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    troubles = Troubles()

    def told() -> int:
        return len(capsys.readouterr().err.splitlines())

    full, forbidden = OSError(errno.ENOSPC, ""), OSError(errno.EACCES, "")
    counts = []
    for action in (
        lambda: troubles.tell("a checkpoint", full, tmp_path, ""),
        lambda: troubles.tell("a checkpoint", TENSORSTORE, tmp_path, ""),
        lambda: troubles.tell("metrics.jsonl", full, tmp_path, ""),
        lambda: troubles.tell("metrics.jsonl", forbidden, tmp_path, ""),
        lambda: troubles.over("a checkpoint"),
        lambda: troubles.over("a checkpoint"),
        lambda: troubles.tell("metrics.jsonl", forbidden, tmp_path, ""),
        lambda: troubles.tell("a checkpoint", full, tmp_path, ""),
        lambda: troubles.over("metrics.jsonl"),
    ):
        action()
        counts.append(told())
    assert counts == [1, 0, 0, 1, 1, 0, 0, 1, 1]


def test_a_command_tells_what_the_disk_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped, told_plainly():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "model.json"))
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {tmp_path / 'model.json'}: No space left on device. Make room: ")
    assert told.count("\n") == 1
    with pytest.raises(FileNotFoundError), told_plainly():  # which a disk does not answer by itself
        (tmp_path / "absent").read_text()
