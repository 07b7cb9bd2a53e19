"""A read that fails for a moment is tried again; what is broken, missing or stalled has its outcome in bounded time."""

import errno
import io
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import write_root
from test_loader import opened, take

from jaxseg.data import headers, patience
from jaxseg.data.coco import DataError
from jaxseg.data.loader import train_batches
from jaxseg.data.patience import MOST_TOLD, MOST_VAIN, Closed, Patience, Unavailable
from jaxseg.data.samples import Samples


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, and nothing from tests before."""
    monkeypatch.setattr(patience, "PAUSE", 0.002)
    for name in ("left", "told", "vain"):
        monkeypatch.setattr(Patience, name, 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_root(tmp_path / "coco", train2017=13, val2017=5)


class Opener:
    """In place of `Path.open` for one file: what its first openings do."""

    def __init__(self, path: Path, *outcomes: Any) -> None:
        self.path, self.outcomes, self.calls, self.open = path, list(outcomes), 0, Path.open

    def __call__(self, path: Path, *arguments: Any, **options: Any) -> Any:
        if path != self.path:
            return self.open(path, *arguments, **options)
        self.calls += 1
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, OSError):
            raise outcome
        file = self.open(path, *arguments, **options)
        return Short(file, outcome) if isinstance(outcome, int) else file


class Short(io.BytesIO):
    """A file of which only the first bytes come."""

    def __init__(self, file: Any, length: int) -> None:
        super().__init__(file.read()[:length])
        self.file = file

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()
        super().close()


def faulty(monkeypatch: pytest.MonkeyPatch, samples: Samples, *outcomes: Any) -> Opener:
    opener = Opener(samples.path(2), *outcomes)
    monkeypatch.setattr(Path, "open", lambda path, *a, **o: opener(path, *a, **o))
    return opener


PASSING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOENT, errno.ENOTCONN)


@pytest.mark.parametrize("outcome", [*(OSError(number, os.strerror(number)) for number in PASSING), 100, 0], ids=str)
def test_what_passes_is_read_and_told(root: Path, monkeypatch: pytest.MonkeyPatch, outcome: Any) -> None:
    samples = opened(root)
    expected = samples[2]
    opener = faulty(monkeypatch, samples, outcome, outcome)
    with pytest.warns(UserWarning, match=r"Read at try 3\. Before: .*3\.png can't be read"):
        found = samples[2]
    assert opener.calls == 3
    assert np.array_equal(found["image"], expected["image"])
    assert (found["weight"], found["fault"]) == (1, "")


@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_what_stays_has_its_outcome(root: Path, monkeypatch: pytest.MonkeyPatch, policy: Any) -> None:
    samples = opened(root, on_error=policy, retries=2)
    opener = faulty(monkeypatch, samples, *[OSError(errno.EIO, "Input/output error")] * 9)
    if policy == "raise":
        with pytest.raises(DataError, match=r"^Image 3: .*3\.png can't be read.*Input/output error\. Tried 3 times\."):
            samples[2]
    else:
        assert samples[2]["weight"] == 0
        assert samples[2]["fault"].endswith("Input/output error.")
    assert opener.calls == (3 if policy == "raise" else 4)  # what was given up is tried once


def test_short_reads_are_told_as_such(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = opened(root, on_error="skip", retries=1)
    faulty(monkeypatch, samples, 40, 50)
    size = samples.path(2).stat().st_size
    assert f"50 of its {size} bytes came. Tried 2 times." in samples[2]["fault"]


@pytest.mark.parametrize("content", [b"not a picture at all", b""])
def test_what_is_broken_is_not_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    samples = opened(root, on_error="skip")
    whole = samples.path(2).read_bytes()
    stats = []
    real = Path.stat
    for broken in (content, whole[: len(whole) // 2]):
        samples.path(2).write_bytes(broken)
        monkeypatch.setattr(Path, "stat", lambda path, **o: stats.append(path) or real(path, **o))
        fault = samples[2]["fault"]
        assert "can't be read as an image" in fault
        assert "Tried" not in fault
        assert stats == [samples.path(2)]
        stats.clear()


@pytest.mark.parametrize("number", [errno.EACCES, errno.ELOOP])
def test_what_can_not_pass_is_not_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    samples = opened(root, on_error="skip")
    opener = faulty(monkeypatch, samples, *[OSError(number, "no")] * 9)
    assert samples[2]["weight"] == 0
    assert opener.calls == 1


def test_many_missing_files_are_not_all_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = opened(root, on_error="skip")
    waits: list[float] = []
    monkeypatch.setattr(samples.patience.closed, "wait", lambda pause: waits.append(pause))
    for place in range(8):
        samples.path(place).unlink()
        assert "no such file" in samples[place]["fault"]
    assert waits == [pause * patience.PAUSE for pause in (1, 4, 16)] * MOST_VAIN


def test_it_is_told_a_few_times(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = opened(root)

    def several() -> None:
        for _ in range(MOST_TOLD + 3):
            with monkeypatch.context() as patch:
                faulty(patch, samples, OSError(errno.EIO, "no"))
                samples[2]

    with pytest.warns(UserWarning, match="Read at try 2") as heard:
        several()
    told = [str(warning.message) for warning in heard if "Read at" in str(warning.message)]
    assert len(told) == MOST_TOLD
    assert told[-1].endswith("More such are not told.")


@pytest.mark.parametrize("how", ["gone", "empty"])
def test_a_folder_that_is_away_leaves_no_image_out(root: Path, how: str) -> None:
    samples = opened(root, on_error="skip", retries=0)
    folder = samples.files.images
    folder.rename(folder.with_name("away"))
    if how == "empty":  # as the place of a mount is
        folder.mkdir()
    with pytest.raises(DataError, match=f"The images folder {folder} is gone, empty or does not answer"):
        samples[2]


# Stalls.


@pytest.fixture
def stalled(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Samples], Path]]:
    """Image 3 of the samples as a pipe that nobody writes to, which passes for a file."""
    pipes: list[Path] = []

    def stall(samples: Samples) -> Path:
        path = samples.path(2)
        path.unlink()
        os.mkfifo(path)
        pipes.append(path)
        return path

    monkeypatch.setattr(headers, "S_ISREG", lambda mode: stat.S_ISREG(mode) or stat.S_ISFIFO(mode))
    real = Path.stat
    sized = os.stat_result((stat.S_IFIFO, *[9] * 9))
    monkeypatch.setattr(Path, "stat", lambda path, **o: sized if path in pipes else real(path, **o))
    yield stall
    for path in pipes:  # whoever waits there gets an end of file
        end = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        time.sleep(0.05)
        os.close(end)


def readers() -> int:
    return sum(thread.name == "jaxseg-reader" for thread in threading.enumerate())


def test_a_read_that_stalls_becomes_a_fault(root: Path, stalled: Callable[[Samples], Path]) -> None:
    samples = opened(root, on_error="skip", read_timeout=0.2, retries=1)
    stalled(samples)
    begun = time.monotonic()
    batches = take(samples, 6)
    assert time.monotonic() - begun < 10
    faults = [text for loaded in batches for text in loaded.faults.values()]
    assert faults[0] == f"{samples.path(2)} can't be read: no answer within 0.2 s. Tried 2 times."
    assert {id_ for loaded in batches for id_ in loaded.faults} == {3}
    assert 0 <= Patience.left - 1 - len(faults) <= 3  # two tries at first, then one each time; batches are loaded ahead


def test_who_waits_for_a_stalled_read_can_be_stopped(root: Path, stalled: Callable[[Samples], Path]) -> None:
    """As by Ctrl-C; nothing waits for the read afterwards either."""
    samples = opened(root, threads=2)
    stalled(samples)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt), train_batches(samples, 13, seed=0) as batches:
            next(batches)
        assert time.monotonic() - begun < 5
    finally:
        signal.signal(signal.SIGALRM, before)


def test_reads_left_behind_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "MOST_LEFT", 3)
    release = threading.Event()
    patient = Patience(0, 0.01)
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"no answer within 0\.01 s"):
            patient.call(lambda _: release.wait(), 0)
    with pytest.raises(DataError, match="3 reads have stalled"):
        patient.call(lambda _: release.wait(), 0)
    release.set()


STOPPED = """
import os, signal, threading
from jaxseg.data.patience import SLICE, Patience
asked = threading.Event()
threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGSTOP)).start()
def slow(_):
    asked.wait(2 * SLICE)
    return 7
print(Patience(0, 4 * SLICE).call(slow, 0))
"""


def test_a_process_that_was_stopped_meanwhile_did_not_stall() -> None:
    """SIGSTOP, a laptop's sleep: when it goes on, the clock says that long has passed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True, env=environment)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    time.sleep(5 * patience.SLICE)
    os.kill(child.pid, signal.SIGCONT)
    assert child.communicate(timeout=30)[0] == "7\n"


def test_no_thread_stays_when_it_is_closed(root: Path) -> None:
    before = readers()
    for _ in range(3):
        take(opened(root), 3)
    until = time.monotonic() + 5
    while readers() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert readers() == before


def test_errors_come_through_and_close_ends_the_waiting() -> None:
    patient = Patience(3, 5.0)
    with pytest.raises(ZeroDivisionError):
        patient.call(lambda n: 1 // n, 0)
    assert patient.call(lambda n: 6 // n, 3) == 2
    threading.Timer(0.05, patient.close).start()
    with pytest.raises(Closed):
        patient.call(lambda _: time.sleep(1), 0)
    again = pickle.loads(pickle.dumps(patient))
    assert (again.retries, again.timeout) == (3, 5.0)
