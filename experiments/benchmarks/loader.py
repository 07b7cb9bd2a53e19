"""The loader against PyTorch's over a data set class as one writes it with pycocotools and OpenCV.

    python experiments/benchmarks/loader.py --root /path/to/coco --json loader.json

Both give shuffled batches of 224 x 224 images and binary masks, of all images and categories of the training split. The
rival's class follows the original's rules: a COCO object in memory, `cv2.imread` and `cv2.resize`, division by 255, and
for each annotation `annToMask` and `cv2.resize`. jaxseg's batches stay uint8; its step divides on the device. Each
measurement is a process of its own, all in turn, as often as `--rounds` says; the table has the best and the median.
CPU time is that of all threads and processes, in the steady state, after an epoch of warming up (which fills the
cache); memory is the highest sum of the proportional shares (Pss) of all its processes.

Needs Linux, PyTorch, and OpenCV, which jaxseg does not use: pip install torch==2.13.0 opencv-python-headless.
Without `--root` it takes the embedded sample.
"""

import importlib.util
import itertools
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from jaxseg.data.samples import Data, open_split

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Arguments:
    """Measure both loaders.

    Attributes:
        root: a folder in COCO's layout; None: the embedded sample.
        size: height and width of the images.
        batch_size: images a batch.
        images: that each measurement reads, at least.
        rounds: measurements of each.
        json: a file for all numbers.
        only: measure one alone, as the benchmark calls itself: LOADER WORKERS THREADS.
    """

    root: Path | None = None
    size: int = 224
    batch_size: int = 16
    images: int = 700
    rounds: int = 3
    json: Path | None = None
    only: tuple[str, int, int] | None = None


class Numbers(NamedTuple):
    """Of one measurement."""

    images_per_second: float
    cpu_ms: float
    memory_mb: float


def torch_batches(arguments: Arguments, workers: int) -> tuple[int, Iterator[Any]]:
    """The rival: images of an epoch, and batches without end."""
    import torch
    from coco_masks import CocoMasks, batches

    torch.set_num_threads(1)
    files = open_split(Data(root=arguments.root), "train").files
    loader = batches(
        CocoMasks(files.json, files.images, (arguments.size, arguments.size)), arguments.batch_size, workers
    )
    return len(loader) * arguments.batch_size, itertools.chain.from_iterable(loader for _ in itertools.count())


def jaxseg_batches(arguments: Arguments, how: dict[str, Any], workers: int, threads: int) -> tuple[int, Iterator[Any]]:
    """jaxseg's loader: images of an epoch, and batches without end."""
    from jaxseg.data.loader import steps_per_epoch, train_batches

    data = Data(root=arguments.root, height=arguments.size, width=arguments.size)
    samples = open_split(replace(data, workers=workers, threads=threads, **how), "train")
    steps = steps_per_epoch(samples, arguments.batch_size)

    def endless() -> Iterator[Any]:
        with train_batches(samples, arguments.batch_size, seed=0) as batches:
            yield from batches

    return steps * arguments.batch_size, endless()


LOADERS: dict[str, dict[str, Any] | None] = {
    "PyTorch, OpenCV": None,
    "jaxseg, Pillow": {"decoder": "pillow"},
    "jaxseg, simplejpeg": {"decoder": "simplejpeg"},
    "jaxseg, cache": {"cache": "memory"},
}
RIVAL, *OURS = LOADERS


def measure(arguments: Arguments, name: str, workers: int, threads: int) -> None:
    """Prints images/s and CPU milliseconds an image, in the steady state."""
    how = LOADERS[name]
    epoch, batches = (
        torch_batches(arguments, workers) if how is None else jaxseg_batches(arguments, how, workers, threads)
    )
    wanted = arguments.images * (8 if how and "cache" in how else 1)
    steps = max(1, -(-wanted // epoch)) * epoch // arguments.batch_size
    for _ in range(epoch // arguments.batch_size + 2 * workers + 2):  # a worker is a few batches ahead
        next(batches)
    started, cpu = time.perf_counter(), cpu_seconds()
    for _ in range(steps):
        next(batches)
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    images = steps * arguments.batch_size
    print(json.dumps([images / seconds, 1000 * cpu / images]), flush=True)
    for worker in family(os.getpid())[1:]:
        os.kill(worker, signal.SIGKILL)
    os._exit(0)  # nothing is worth waiting for


def cpu_seconds() -> float:
    """Of this process and of the workers that it has now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime + sum(ticks(pid) for pid in family(os.getpid())[1:]) / TICKS


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    try:
        return [pid, *(other for task in tasks for child in task.read_text().split() for other in family(int(child)))]
    except OSError:  # it ended meanwhile
        return []


def memory_mb(pid: int) -> float:
    """The proportional shares of a process and all that descend from it, and the cache: what is shared counts once."""
    total = 0
    for member in family(pid):
        try:
            text = Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
    try:
        files = [file for file in Path(f"/proc/{pid}/fd").iterdir() if "/memfd:jaxseg" in os.readlink(file)]
        kept = max((file.stat().st_blocks * 512 for file in files), default=0)  # two descriptors of one file
    except OSError:
        kept = 0
    return total / 1000 + kept / 1e6


def alone(arguments: Arguments, name: str, workers: int, threads: int) -> Numbers:
    """One measurement in a process of its own, whose memory is watched from here."""
    flags: list[Any] = ["--size", arguments.size, "--batch-size", arguments.batch_size, "--images", arguments.images]
    flags += ["--root", arguments.root] if arguments.root else []
    command = [sys.executable, __file__, *flags, "--only", name, workers, threads]
    most = 0.0
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            most = max(most, memory_mb(child.pid))
            time.sleep(0.1)
        said = child.stdout.read() if child.stdout else ""
    if child.returncode:
        raise SystemExit(f"{name} with {workers} workers failed: see above.")
    speed, cpu = json.loads(said.splitlines()[-1])
    return Numbers(speed, cpu, most)


def missing() -> list[str]:
    packages = {"torch": "torch==2.13.0", "cv2": "opencv-python-headless"}
    return [name for module, name in packages.items() if importlib.util.find_spec(module) is None]


def main() -> None:
    """Measure all in turn, and tell."""
    arguments = tyro.cli(Arguments, description=__doc__)
    if arguments.only:
        measure(arguments, *arguments.only)
    if lacking := missing():
        raise SystemExit(f"The rival needs {' and '.join(lacking)}: pip install {' '.join(lacking)}")
    if not Path("/proc/self/smaps_rollup").exists():
        raise SystemExit("CPU time and memory of worker processes are read from /proc: run this on Linux.")
    ours = [name for name in OURS if "simplejpeg" not in name or importlib.util.find_spec("simplejpeg")]
    rows = [(name, workers, 0) for workers in (0, 1, 2) for name in (RIVAL, *ours)]
    rows[len(ours) + 1 : len(ours) + 1] = [(name, 0, Data().threads) for name in ours]
    found: dict[tuple[str, int, int], list[Numbers]] = {row: [] for row in rows}
    for turn in range(arguments.rounds):
        for row in rows:
            found[row].append(alone(arguments, *row))
            print(f"round {turn + 1}: {row}: {found[row][-1]}", file=sys.stderr)
    tell(found)
    if arguments.json:
        rival = {workers: found[RIVAL, workers, 0] for workers in (0, 1, 2)}
        records = [
            {
                **dict(zip(("loader", "workers", "threads"), row, strict=True)),
                "rounds": [numbers._asdict() for numbers in rounds],
                "cpu_ratio": ratio(rival[row[1]], rounds, statistics.median),
            }
            for row, rounds in found.items()
        ]
        settings = {**asdict(arguments), "root": str(arguments.root), "json": None, "only": None}
        arguments.json.write_text(json.dumps({"settings": settings, "measured": records}, indent=2) + "\n")


def ratio(rival: list[Numbers], ours: list[Numbers], of: Callable[[list[float]], float]) -> float:
    """How many times the CPU time of ours the rival takes."""
    return of([numbers.cpu_ms for numbers in rival]) / of([numbers.cpu_ms for numbers in ours])


def tell(found: dict[tuple[str, int, int], list[Numbers]]) -> None:
    """The table; the ratios compare with the rival at the same number of workers."""
    print("loader              workers  threads  images/s best  median  CPU ms/image best  median    ratio  memory MB")
    for (name, workers, threads), rounds in found.items():
        speed, cpu, memory = zip(*rounds, strict=True)
        times = ratio(found[RIVAL, workers, 0], rounds, statistics.median)
        print(
            f"{name:18s}{workers:9d}{threads or '':>9}{max(speed):15.0f}{statistics.median(speed):8.0f}"
            f"{min(cpu):19.2f}{statistics.median(cpu):8.2f}{times:8.1f}x{max(memory):11.0f}"
        )


if __name__ == "__main__":
    main()
