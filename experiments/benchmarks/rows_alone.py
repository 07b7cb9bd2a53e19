"""The rows whose sides are processes of their own: an epoch and the loader from files, memory, the first step."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cases import Case
from copies import write_copies
from one_side import Found, Side, Task
from turns import Row, compared

from jaxseg.data.images import decided
from jaxseg.data.layout import Files
from jaxseg.data.sample import sample_root
from jaxseg.run import RunFolder

HERE = Path(__file__).parent
WORKERS = (0, 2)
"""Of PyTorch's loader: a choice that its user has."""
STEPS = 3
SIDES: tuple[Side, Side] = ("jaxseg", "PyTorch")


def run(task: Task) -> Found:
    done = subprocess.run(
        [sys.executable, str(HERE / "one_side.py")], input=task.to_json(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{task} failed:\n{done.stderr}")
    return Found(**json.loads(done.stdout.splitlines()[-1]))


def in_turn(ours: Task, theirs: dict[str, Task], turns: int) -> tuple[list[Found], dict[str, list[Found]]]:
    """A process for each side and turn; after the first turn only the peer's faster mode goes on."""
    found: list[Found] = []
    others: dict[str, list[Found]] = {mode: [] for mode in theirs}
    for _ in range(turns):
        found.append(run(ours))
        for mode, task in theirs.items():
            others[mode].append(run(task))
        best = min(theirs, key=lambda mode: min(seconds_of(others[mode])))
        theirs = {best: theirs[best]}
    return found, others


def seconds_of(found: list[Found]) -> list[float]:
    return [seconds for each in found for seconds in each.seconds]


def from_files(what: str, case: Case, root: Path, count: int, *, mode: str, turns: int) -> tuple[Row, list[Found]]:
    """The row of the loader or of an epoch, in seconds, and jaxseg's findings."""
    task = Task("loader" if what == "loader" else "epoch", "jaxseg", case, str(root), count)
    theirs = {
        f"{mode}, {workers} workers" if task.what == "epoch" else f"{workers} workers": replace(
            task, side="PyTorch", workers=workers, mode=mode
        )
        for workers in WORKERS
    }
    found, others = in_turn(task, theirs, turns)
    row = compared(what, case, "s", seconds_of(found), {name: seconds_of(each) for name, each in others.items()})
    return row, found


def loader(case: Case, files: Files, images: int, *, count: int, turns: int) -> Row:
    """Milliseconds an image, of batches ready for the device: uint8 with weights, or float32."""
    with tempfile.TemporaryDirectory() as folder:
        root = write_copies(files, images, Path(folder) / "coco")
        row, _ = from_files("loader", case, root, count, mode="", turns=turns)
    return scaled(row, 1000 / case.batch, "ms an image")._replace(note=f"decoder: {decided('auto')}")


def scaled(row: Row, factor: float, unit: str) -> Row:
    def times(numbers: list[float]) -> list[float]:
        return [factor * number for number in numbers]

    others = {mode: times(numbers) for mode, numbers in row.others.items()}
    return row._replace(unit=unit, ours=times(row.ours), theirs=times(row.theirs), others=others)


def epoch(case: Case, files: Files, images: int, *, count: int, mode: str, turns: int) -> Row:
    """Training of an epoch by `jaxseg.train.fit`, as timings.jsonl tells, against the original's loop."""
    with tempfile.TemporaryDirectory() as folder:
        root = write_copies(files, images, Path(folder) / "coco")
        row, found = from_files("epoch from files", case, root, count, mode=mode, turns=turns)
    waiting = max(share for each in found for share in each.waiting)
    return row._replace(
        note=f"{images} images: {images / min(row.ours):,.0f} images/s; waiting for data at most {waiting:.2%}"
    )


def data_set(case: Case, files: Files, images: int) -> Iterator[Row]:
    """A step of an epoch, and the process's memory, with so many images and with ten times as many."""
    for count in (images, 10 * images):
        with tempfile.TemporaryDirectory() as folder:
            root = write_copies(files, count, Path(folder) / "coco")
            tasks = [Task("epoch", side, case, str(root), mode="eager") for side in SIDES]
            if count == images:
                run(tasks[0])  # compiles, which takes memory
            ours, theirs = map(run, tasks)
        steps, name = count // case.batch, f"{count} images"
        found = ([seconds / steps for seconds in each.seconds] for each in (ours, theirs))
        row = compared(
            f"{name}: step from files", case, "ms", next(found), {"eager, 0 workers": next(found)}, scale=1000
        )
        yield row
        yield compared(f"{name}: memory", case, "MB", [ours.host / 1e6], {"eager, 0 workers": [theirs.host / 1e6]})


def memory(case: Case, *, mode: str) -> Iterator[Row]:
    """The most that a training has: of the host's memory, all that the process is; of the accelerator's, its arrays."""
    ours, theirs = (run(Task("steps", side, case, count=STEPS, mode=mode)) for side in SIDES)
    yield compared("host memory of a training", case, "MB", [ours.host / 1e6], {mode: [theirs.host / 1e6]})
    if ours.device and theirs.device:
        yield compared("device memory of a training", case, "MB", [ours.device / 1e6], {mode: [theirs.device / 1e6]})


def start(case: Case, *, turns: int) -> Iterator[Row]:
    """Seconds from the quickstart's command to its first step's loss, against an eager PyTorch on the same files."""
    command = [
        sys.executable,
        "-m",
        "jaxseg.train",
        "--config",
        str(HERE.parent / "quickstart.py"),
        "--logs.every",
        "1",
    ]
    command += ["--model.widths", *map(str, case.widths)]
    cold: list[float] = []
    warm: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(turns):
            kept, drawn = Path(folder) / f"kept {turn}", sample_root()
            root = shutil.copytree(drawn, kept / drawn.name)  # nothing is compiled
            for found, name in ((cold, "cold"), (warm, "warm"), (warm, "again")):
                found.append(first_record([*command, "--workdir", f"{folder}/{name} {turn}"], kept))
            theirs.append(first_line(Task("first", "PyTorch", case, str(root))))
    mode = "eager, no batch norm"
    yield compared("command to first step, nothing compiled", case, "s", cold, {mode: theirs})
    yield compared("command to first step, again", case, "s", warm, {mode: theirs})


def first_record(command: list[str], kept: Path) -> float:
    """Seconds until the run's first loss is on disk; then it is killed."""
    metrics = RunFolder(Path(command[-1])).metrics
    environment = {name: value for name, value in os.environ.items() if "COMPILATION_CACHE" not in name}
    begun = time.perf_counter()
    with subprocess.Popen(
        command, env=environment | {"JAXSEG_CACHE": str(kept)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        while not (metrics.exists() and metrics.stat().st_size):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} failed:\n{process.stderr.read() if process.stderr else ''}")
            time.sleep(0.005)
        seconds = time.perf_counter() - begun
        process.kill()
    return seconds


def first_line(task: Task) -> float:
    """Seconds until a process's first line."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, str(HERE / "one_side.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(task.to_json())
        process.stdin.close()
        line = process.stdout.readline()
        seconds = time.perf_counter() - begun
        process.stdout.read()
    if not line.strip():
        raise SystemExit(f"{task} failed: see above.")
    return seconds
