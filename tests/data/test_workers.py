"""Worker processes give the batches that threads give, whoever of them is killed, and leave nothing behind."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from coco_files import write_root
from test_loader import assert_same, damage, opened, take

from jaxseg.data.assembly import Assembly
from jaxseg.data.coco import DataError
from jaxseg.data.loader import train_batches
from jaxseg.data.workers import MOST_DEATHS, Worker, Workers


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_root(tmp_path / "coco", train2017=13)


def processes(session: int | None = None) -> list[int]:
    """Worker processes that live: of this process, or of a session."""
    which = ["-P", str(os.getpid())] if session is None else ["-s", str(session)]
    found = subprocess.run(["pgrep", *which, "-f", "jaxseg.data.worker import"], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]


def soon(done: Callable[[], bool]) -> bool:
    """On a machine that may be busy."""
    until = time.monotonic() + 120
    while not (met := done()) and time.monotonic() < until:
        time.sleep(0.02)
    return met


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_worker_processes_give_the_same_batches_and_leave_nothing(root: Path, cache: str, long: bool) -> None:
    """In short the form with the cache in memory that the workers share, which the other takes no part of."""
    shared = cache == "memory" and hasattr(os, "memfd_create")
    if not shared and not long:
        pytest.skip("starts worker processes: --long")
    damage(root)
    samples = opened(root, on_error="skip", workers=2, cache=cache if shared else "none")
    assert_same(take(samples, 5, start=2), take(opened(root, on_error="skip"), 5, start=2))
    if shared:
        assert samples.slots
        assert samples.slots.used_bytes()
    assert not processes()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into a process as Linux allows")
def test_a_worker_loads_no_jax(root: Path) -> None:
    with train_batches(opened(root, workers=1), 4, seed=0) as batches:
        next(batches)
        (worker,) = processes()
        loaded = Path(f"/proc/{worker}/maps").read_text()
    assert "numpy" in loaded
    assert "jaxlib" not in loaded


def test_a_worker_s_error_is_the_reader_s(root: Path) -> None:
    path = damage(root)
    with pytest.raises(DataError, match=r"^Image 3: ") as caught:
        take(opened(root, workers=2), 5)
    assert str(path) in str(caught.value)
    assert not processes()


def with_batch(made: str) -> str:
    """A worker's program whose batches are made by this expression of self, step and `make`."""
    return (
        "import os, sys; sys.path[:] = {path!r}; "
        "from jaxseg.data.worker import main; from jaxseg.data import assembly; "
        "make = assembly.Assembly.__call__; "
        f"assembly.Assembly.__call__ = lambda self, step: {made}; "
        "main()"
    )


def test_what_a_worker_prints_is_no_batch(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = opened(root, workers=1)
    monkeypatch.setattr("jaxseg.data.workers.PROGRAM", with_batch("(os.write(1, b'loud'), make(self, step))[1]"))
    assert_same(take(samples, 2), take(opened(root), 2))
    assert "loud" in capfd.readouterr().err


# Killed workers.


def test_a_killed_worker_is_replaced_and_the_batches_are_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them, and both, in the midst of a batch that is larger than the pipe."""
    start = 3
    monkeypatch.setattr("jaxseg.data.workers.PIPE", 4096)
    expected = take(opened(root), 10, start=start)
    with train_batches(opened(root, workers=2), 4, seed=0, start=start) as batches:
        found = [next(batches)]
        for count in (1, 2):
            dead = processes()[:count]
            for pid in dead:
                os.kill(pid, signal.SIGKILL)
            assert soon(lambda dead=dead: not set(dead) & set(living()))
            with pytest.warns(
                UserWarning, match=r"Worker process [12] of 2 was killed by signal 9 \(SIGKILL\), as the"
            ):
                found += itertools.islice(batches, 4)
        found += itertools.islice(batches, 1)
    assert_same(found, expected)
    assert not processes()


def living() -> list[int]:
    """Worker processes that are no zombies."""
    states = {pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in processes()}
    return [pid for pid, state in states.items() if state != "Z"]


@pytest.mark.parametrize(
    ("number", "why"), [(signal.SIGSEGV, "a library crashed on one of the images"), (signal.SIGKILL, "memory runs out")]
)
def test_a_batch_that_kills_every_worker_ends_the_run_with_its_images(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int, why: str, long: bool
) -> None:
    if number == signal.SIGKILL and not long:
        pytest.skip("starts worker processes: --long")
    deaths = MOST_DEATHS if long else 1
    monkeypatch.setattr("jaxseg.data.workers.MOST_DEATHS", deaths)
    monkeypatch.setattr(
        "jaxseg.data.workers.PROGRAM",
        with_batch(f"os.kill(os.getpid(), {int(number)}) if step == 1 else make(self, step)"),
    )
    expected = take(opened(root), 2)
    with train_batches(opened(root, workers=2), 4, seed=0) as batches:
        assert_same([next(batches)], expected[:1])
        with pytest.warns(UserWarning, match="Another takes its place") as heard, pytest.raises(DataError) as caught:
            next(batches)
        assert len(heard) == deaths
    said = str(caught.value)
    assert why in said
    assert f"the batch of step 1 was due, of the images {', '.join(map(str, expected[1].image_ids))}." in said
    assert "--data.workers 0" in said
    assert not processes()


def test_deaths_far_apart_end_no_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxseg.data.workers.WITHIN", 0.0)
    monkeypatch.setattr("jaxseg.data.workers.Worker", Dead)
    samples = opened(root)
    workers = Workers(Assembly(samples, {0: samples.positions[:4]}.__getitem__), 1, 0)
    for _ in range(MOST_DEATHS + 2):
        with pytest.warns(UserWarning, match="Another takes its place"):
            workers.replace(0)


class Dead(Worker):
    """One that was killed."""

    def __init__(self) -> None:
        self.process = self  # pyright: ignore[reportAttributeAccessIssue]

    def wait(self) -> int:
        return -signal.SIGKILL

    def end(self) -> int:
        return self.wait()

    def begin(self, work: bytes) -> None: ...


def test_a_worker_that_can_not_start_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxseg.data.workers.PROGRAM", "import sys; sys.exit(7)")
    with pytest.raises(DataError, match=r"Worker process 1 of 2 ended with status 7; what it said stands above\."):
        take(opened(root, workers=2), 1)
    assert not processes()


# Killed parents.

# Closes nothing, whatever happens.
PARENT = """
import itertools, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background inherits it ignored
from pathlib import Path
from jaxseg.data.assembly import Assembly
from jaxseg.data.samples import Data, open_split
from jaxseg.data.workers import Workers

samples = open_split(Data(root=Path(sys.argv[1]), height=16, width=24, cache="memory"), "train")
batches = Workers(Assembly(samples, dict.fromkeys(range(1000), samples.positions[:4]).__getitem__), 2, 0)
if sys.argv[2] != "early":
    next(batches)
print("ready", flush=True)
if sys.argv[2] == "exception":
    raise RuntimeError
while sys.argv[2] != "end":
    time.sleep(0.01)
"""
ENDS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "interrupt": signal.SIGINT, "early": signal.SIGKILL}


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="counts shared memory as Linux does")
def test_nothing_is_left_however_the_parent_ends(root: Path, long: bool) -> None:
    """No process and no shared memory; signals go to all processes of the group, as from a terminal."""
    package = str(Path(__file__).parents[2])
    before = set(os.listdir("/dev/shm"))
    started = {
        how: subprocess.Popen(
            [sys.executable, "-c", PARENT, str(root), how],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": package},
            start_new_session=True,
        )
        for how in ((*ENDS, "exception", "end") if long else ("kill", "interrupt", "end"))
    }
    for how, parent in started.items():
        assert parent.stdout
        assert parent.stdout.readline() == "ready\n", how
        if how in ENDS:
            assert len(processes(parent.pid)) == 2, how
            os.kill(parent.pid, ENDS[how]) if how in ("kill", "early") else os.killpg(parent.pid, ENDS[how])
        _, said = parent.communicate(timeout=150)
        assert soon(lambda parent=parent: not processes(parent.pid)), how
        assert said.count("Traceback") == (how in ("interrupt", "exception")), said  # the parent's own

    def left() -> set[str]:
        return {name for name in set(os.listdir("/dev/shm")) - before if name.startswith(("psm_", "jaxseg"))}

    assert soon(lambda: not left()), left()  # another program's may come, and go


WITHOUT_JAX = """
import sys, pathlib, jaxseg.data
folder = pathlib.Path(jaxseg.data.__file__).parent
for path in sorted(folder.glob("*.py")):
    if path.stem != "loader":
        __import__(f"jaxseg.data.{path.stem}")
from jaxseg.data.samples import Data, open_split
sample = open_split(Data(root=pathlib.Path(sys.argv[1]), height=16, width=24), "train")[0]
assert sample["weight"] == 1
print(sorted(m for m in sys.modules if m.split(".")[0] in ("jax", "jaxlib", "flax", "grain", "matplotlib")))
"""


def test_the_data_code_loads_no_jax(root: Path) -> None:
    """It runs in worker processes, of which JAX would take 140 MB each."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    run = [sys.executable, "-c", WITHOUT_JAX, str(root)]
    done = subprocess.run(run, capture_output=True, text=True, env=environment, timeout=300)
    assert (done.stdout, done.stderr) == ("[]\n", "")
