"""How fast jaxseg is beside PyTorch: one table, and the same as JSON with every number.

    python experiments/benchmarks/speed.py --data /path/to/coco --out speed.json

Each row measures both in one run, in turn, from the same weights, batches and files, with as many threads; best and
median of many. PyTorch has its fastest of eager, channels_last and `torch.compile` (on a CPU not the last two at once),
with fused Adam; on a GPU bfloat16 autocast and cuDNN's choice by trial. jaxseg runs the steps of its own loop, which
count scores, look for what is not finite and put the batch on the device, each time. Less is better; a ratio is
PyTorch's time, or memory, over jaxseg's: above 1 jaxseg is ahead. Machines are noisy: on a CPU only ratios count.

    training    a step, with images/s and the shares of what the machine can do at most
    inference   `jaxseg.load(...)`, without reading and resizing
    loader      images ready for the device, from JPEG files
    epoch       a whole one from JPEG files: `jaxseg.train.fit` against the original's loop
    start       from the command to the first step
    memory      the most that a training has
    growth      a step at other sizes and batches, and with ten times the images

The networks are the original's and a narrow one; where a GPU is found, the original in bfloat16 at batch 64 too. The
rows of a GPU have been run on a CPU alone so far (`--tiny` runs every row, with numbers not worth reading).

Without `--data` the images are the embedded sample's. On two idle CPU cores it takes some ten minutes, and longer the
first time, when all is compiled; `--modes eager channels_last` spares PyTorch's compilers.

Needs Linux, PyTorch, and OpenCV, which jaxseg does not use: pip install torch==2.13.0 opencv-python-headless.
"""

import importlib.util
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs some of the GPU too

import tyro

from jaxseg.allocator import keep_freed_memory

if TYPE_CHECKING:
    from turns import Row

Name = Literal["training", "inference", "loader", "epoch", "start", "memory", "growth"]
NAMES: tuple[Name, ...] = ("training", "inference", "loader", "epoch", "start", "memory", "growth")


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        data: a folder in COCO's layout; None: the embedded sample.
        out: the JSON; None: only the table.
        rows: which to measure.
        times: calls of each side, in rows whose sides take turns in one process.
        seconds: after which such a row has no more of them, but three at least; a row of growth after half of it.
        modes: PyTorch's, where all are tried; None: all that there are on this device.
        turns: processes of each side, in rows whose sides have processes of their own.
        tiny: every row with tiny networks, to see that it runs.
    """

    data: Path | None = None
    out: Path | None = Path("speed.json")
    rows: tuple[Name, ...] = NAMES
    times: int = 30
    seconds: float = 12
    modes: tuple[str, ...] | None = None
    turns: int = 2
    tiny: bool = False


def measured(arguments: Arguments) -> Iterator["Row"]:
    """The rows, one by one."""
    import rows_alone
    import rows_together
    from cases import on_cpu, on_gpu, tiny
    from torch_peer import MODES, ON_GPU, PLAIN, use_the_machine

    from jaxseg.compile_cache import keep_compiled
    from jaxseg.data.samples import Data, open_split

    keep_compiled()
    use_the_machine()
    cases = tiny() if arguments.tiny else on_gpu() if ON_GPU else on_cpu()
    files = open_split(Data(root=arguments.data), "train").files
    how: Any = {"times": arguments.times, "seconds": arguments.seconds, "modes": arguments.modes or MODES}
    briefly: Any = {"times": arguments.times, "seconds": arguments.seconds / 2, "modes": PLAIN}
    mode, turns = MODES[-1] if ON_GPU else "channels_last", arguments.turns
    for name in arguments.rows:
        if name == "training":
            yield from (rows_together.training(case, **how) for case in cases.training)
        elif name == "inference":
            yield from (rows_together.inference(case, **how) for case in cases.inference)
        elif name == "loader":
            yield rows_alone.loader(cases.epoch[0], files, cases.images, count=arguments.times, turns=turns)
        elif name == "epoch":
            for case in cases.epoch:
                yield rows_alone.epoch(case, files, cases.images, count=2, mode=mode, turns=turns)
        elif name == "start":
            yield from rows_alone.start(cases.start, turns=turns)
        elif name == "memory":
            for case in cases.memory:
                yield from rows_alone.memory(case, mode=mode)
        else:
            yield from rows_together.growth((*cases.sizes, *cases.batches), **briefly)
            yield from rows_alone.data_set(cases.data_set, files, cases.few_images)


def machine() -> dict[str, str]:
    """What ran it, for the reader of the numbers."""
    import jax

    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return {
        "device": f"{len(os.sched_getaffinity(0))} cores of {cpu.partition(': ')[2]}; {jax.devices()[0].device_kind}",
        "versions": ", ".join(f"{name} {version(name)}" for name in ("jax", "flax", "torch")),
        "python": platform.python_version(),
        "command": shlex.join(["python", *sys.argv]),
    }


def main() -> None:
    """Measure, print, write."""
    arguments = tyro.cli(Arguments, description=__doc__)
    packages = {"torch": "torch==2.13.0", "cv2": "opencv-python-headless"}
    if lacking := [package for module, package in packages.items() if importlib.util.find_spec(module) is None]:
        raise SystemExit(f"The peer needs {' and '.join(lacking)}: pip install {' '.join(lacking)}")
    if not Path("/proc/self/status").exists():
        raise SystemExit("The memory of a process is read from /proc: run this on Linux.")
    from turns import table

    keep_freed_memory()  # as the commands do; PyTorch has it in the same processes
    begun, rows = time.perf_counter(), []
    for row in measured(arguments):
        rows.append(row)
        print(f"{time.perf_counter() - begun:4.0f} s  {table([row]).splitlines()[-1]}", file=sys.stderr, flush=True)
    found = {**machine(), "rows": [row.to_json() for row in rows]}
    print("\n".join(f"{name}: {value}" for name, value in found.items() if name != "rows"))
    print(table(rows))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
