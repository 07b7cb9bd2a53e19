"""One side of a row, alone in its process: it reads a `Task` as JSON and prints what it `Found`."""

import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from cases import Case

Side = Literal["jaxseg", "PyTorch"]
CALLS = 10  # batches of one number of the loader's


@dataclass(frozen=True)
class Task:
    """What one process does.

    Attributes:
        what: `epoch`: train on files. `loader`: load them. `steps`: train on one batch. `first`: one step on files.
        side: whose.
        case: network and shape.
        root: a folder in COCO's layout.
        count: epochs after the first, numbers of the loader's, or steps.
        workers: processes of PyTorch's loader.
        mode: PyTorch's.
    """

    what: Literal["epoch", "loader", "steps", "first"]
    side: Side
    case: Case
    root: str | None = None
    count: int = 1
    workers: int = 0
    mode: str = "eager"

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Found(NamedTuple):
    """Seconds of epochs, of a loaded batch or of steps; the most bytes that the process had in the host's memory, and
    that its arrays had on the accelerator; the shares of the epochs' time spent waiting for data."""

    seconds: list[float]
    host: int
    device: int | None = None
    waiting: tuple[float, ...] = ()


def task_of(text: str) -> Task:
    task = json.loads(text)
    case = task["case"]
    shape = {"widths": tuple(case["widths"]), "size": tuple(case["size"])}
    return Task(**{**task, "case": Case(**{**case, **shape})})


def highest_memory() -> int:
    """Bytes that this process had at most; of workers, nothing."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def ours(task: Task) -> Found:
    from ours import Ours, peak_memory

    import jaxseg
    from jaxseg.compile_cache import keep_compiled
    from jaxseg.run import RunFolder, read_lines

    keep_compiled()
    config = task.case.config
    data = replace(config.data, root=Path(task.root)) if task.root else config.data
    if task.what == "epoch":
        with tempfile.TemporaryDirectory() as folder:
            jaxseg.train.fit(replace(config, data=data, epochs=1 + task.count), folder)
            epochs = read_lines(RunFolder(Path(folder)).timings)[1:]
        seconds, waiting = ([epoch[name] for epoch in epochs] for name in ("epoch_seconds", "waiting_share"))
        return Found(seconds, highest_memory(), peak_memory(), tuple(waiting))
    if task.what == "loader":
        from jaxseg.data.loader import train_batches
        from jaxseg.data.samples import open_split

        with train_batches(open_split(data, "train"), task.case.batch, seed=0) as batches:
            return Found(timed(lambda: next(batches), task.count, CALLS), highest_memory())
    training, batch = Ours(task.case), task.case.arrays()

    def step() -> None:
        training.step(batch)
        training.wait()

    return Found(timed(step, task.count), highest_memory(), peak_memory())


def theirs(task: Task) -> Found:
    from coco_masks import CocoMasks, batches
    from torch_peer import Peer, losses_of_epochs, peak_memory, tensors, use_the_machine

    use_the_machine()
    if task.what == "steps":
        peer, given = Peer(task.case, mode=task.mode), tensors(task.case.arrays())
        return Found(timed(lambda: peer.step(*given).item(), task.count), highest_memory(), peak_memory())
    assert task.root
    (annotations,) = Path(task.root, "annotations").glob("instances_train*.json")
    images = Path(task.root, "images", annotations.stem.removeprefix("instances_"))
    with contextlib.redirect_stdout(sys.stderr):  # pycocotools tells what it does
        data = CocoMasks(annotations, images, task.case.size)
    loader = batches(data, task.case.batch, task.workers)
    if task.what == "loader":
        endless = itertools.chain.from_iterable(itertools.repeat(loader))
        return Found(timed(lambda: next(endless), task.count, CALLS), highest_memory())
    peer = Peer(task.case, mode=task.mode)
    if task.what == "first":
        loss = peer.step(*next(iter(loader))).item()
        print(loss, flush=True)
        return Found([], highest_memory())
    epochs: Iterator[float] = losses_of_epochs(peer, loader)
    return Found(timed(lambda: next(epochs), task.count), highest_memory(), peak_memory())


def timed(call: Callable[[], object], count: int, calls: int = 1) -> list[float]:
    """Seconds of a call, each the mean of so many; after as many that do not count."""
    seconds = []
    for _ in range(1 + count):
        begun = time.perf_counter()
        for _ in range(calls):
            call()
        seconds.append((time.perf_counter() - begun) / calls)
    return seconds[1:]


def main() -> None:
    """The child's part."""
    task = task_of(sys.stdin.read())
    found = (ours if task.side == "jaxseg" else theirs)(task)
    print("\n" + json.dumps(found._asdict()), flush=True)


if __name__ == "__main__":
    main()
