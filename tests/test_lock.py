"""One run at a time in a folder: the second is told whose it is, and a crash leaves no lock."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import jaxseg
from jaxseg.lock import locked, sole_run
from jaxseg.train import fit

HOLDER = """
import os, sys, time
from pathlib import Path
from jaxseg.lock import sole_run
with sole_run(Path(sys.argv[1])):
    if len(sys.argv) <= 2 or not os.fork():
        print(os.getpid(), flush=True)  # of a fork: the child, which has let go of the lock by now
    time.sleep(60)
"""


def hold(folder: Path, *more: str) -> tuple[subprocess.Popen, int]:
    environment = {**os.environ, "PYTHONPATH": str(Path(jaxseg.__file__).parents[1])}
    words = [sys.executable, "-c", HOLDER, str(folder), *more]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    with process.stdout as output:
        return process, int(output.readline())


def test_the_second_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process, _ = hold(folder)
    try:
        (folder / ".kept-abcdefgh").touch()
        before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
        holder = json.loads((folder / "run.lock").read_text())
        with pytest.raises(jaxseg.InputError) as refused:
            fit(jaxseg.Config(), folder)
        for part in (f"process {process.pid} on {socket.gethostname()}", holder["start"], "--workdir"):
            assert part in str(refused.value)
        assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()} == before
    finally:
        process.kill()
        process.wait()
    with sole_run(folder):
        assert json.loads((folder / "run.lock").read_text())["pid"] == os.getpid()


def test_a_fork_keeps_no_lock_when_its_parent_dies(tmp_path: Path) -> None:
    process, child = hold(tmp_path / "run", "fork")
    try:
        process.kill()
        process.wait()
        os.kill(child, 0)
        with sole_run(tmp_path / "run"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_folder_made_in_vain_is_removed_and_one_that_was_there_is_not(tmp_path: Path) -> None:
    with sole_run(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []
    with sole_run(tmp_path):
        pass
    assert tmp_path.is_dir()
    with sole_run(tmp_path / "used"):
        (tmp_path / "used" / "config.json").touch()
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["config.json"]


def test_a_lock_that_its_holder_has_just_removed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened before, and locked after: then another's is the lock."""
    with sole_run(tmp_path):

        def late(file: object) -> bool:
            monkeypatch.setattr("jaxseg.lock.locked", locked)
            (tmp_path / "run.lock").unlink()
            return True

        monkeypatch.setattr("jaxseg.lock.locked", late)
        with sole_run(tmp_path):
            assert json.loads((tmp_path / "run.lock").read_text())["pid"] == os.getpid()


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(jaxseg.InputError, match=r"can't be written: Not a directory\. .* was deleted or moved"),
        sole_run(tmp_path / "file/run"),
    ):
        pass
