"""Worker processes that make batches, each its share of the steps; one that is killed is replaced."""

import pickle
import signal
import subprocess
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, cast

from jaxseg.data.assembly import Assembly, Loaded
from jaxseg.data.coco import DataError
from jaxseg.data.worker import receive

PROGRAM = "import sys; sys.path[:] = {path!r}; from jaxseg.data.worker import main; main()"
MOST_DEATHS = 3
WITHIN = 600.0  # seconds
PIPE = 1 << 20  # bytes that a batch goes through at a time


class Worker:
    """One process. It holds nothing but pipes: when it ends, however, nothing of it is left.

    Not multiprocessing's: that would run the user's script again, with JAX, to find what to do.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-c", PROGRAM.format(path=sys.path)]
        with unsignalled():
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.input, self.output = cast(BinaryIO, self.process.stdin), cast(BinaryIO, self.process.stdout)
        widen(self.output)

    def begin(self, work: bytes) -> None:
        """Hand it what it needs; a death meanwhile shows where its batch is due."""
        with suppress(BrokenPipeError):
            while work:
                work = work[self.input.write(work) :]

    def end(self) -> int:
        """Kill it, if it lives; its exit status, negative for a signal."""
        self.process.kill()
        self.input.close()
        self.output.close()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:  # in a read that a dead mount never ends; the kernel's, from now on
            return -signal.SIGKILL


class Workers(Iterator[Loaded]):
    """The batches from step `start` on, in order, without end; of `count` processes each makes every `count`-th.

    A batch follows from its step alone. So when the kernel kills a process, another makes the batches that are due,
    and they are the same.
    """

    def __init__(self, assembly: Assembly, count: int, start: int) -> None:
        self.assembly, self.start, self.step = assembly, start, start
        self.deaths: deque[float] = deque(maxlen=MOST_DEATHS + 1)
        self.count = count
        self.workers: list[Worker] = []
        work = [self.work(start + place) for place in range(count)]
        try:
            for _ in work:
                self.workers.append(Worker())
            for worker, its in zip(self.workers, work, strict=True):  # while all are importing
                worker.begin(its)
        except BaseException:
            self.close()
            raise

    def work(self, step: int) -> bytes:
        return pickle.dumps((self.assembly, step, self.count))

    def __next__(self) -> Loaded:
        place = (self.step - self.start) % self.count
        while True:
            try:
                found = receive(self.workers[place].output)
                break
            except EOFError:
                self.replace(place)
        if isinstance(found, Exception):
            raise found
        self.step += 1
        return found

    def replace(self, place: int) -> None:
        """Start another process in the place of one that ended.

        Raises:
            DataError: if it was not killed, or if too many were, of late.
        """
        status = self.workers[place].process.wait()
        self.workers[place].end()
        which = f"Worker process {place + 1} of {self.count}"
        self.deaths.append(time.monotonic())
        many = len(self.deaths) > MOST_DEATHS and self.deaths[-1] - self.deaths[0] < WITHIN
        if status >= 0:
            raise DataError(f"{which} ended with status {status}; what it said stands above.")
        killed = f"{which} was killed by signal {-status} ({signal.Signals(-status).name}){likely(-status)}"
        if many:
            ids = self.assembly.samples.index.image_id[self.assembly.order(self.step)].tolist()
            raise DataError(
                f"{killed}. That was the {len(self.deaths)}th such death in {self.deaths[-1] - self.deaths[0]:.0f} s; "
                f"the batch of step {self.step} was due, of the images {', '.join(map(str, ids[:8]))}"
                f"{', ...' if len(ids) > 8 else ''}. Start again with fewer --data.workers, or with --data.workers 0, "
                "which loads by threads."
            )
        warnings.warn(f"{killed}. Another takes its place, with the same batches.", stacklevel=4)
        self.workers[place] = Worker()
        self.workers[place].begin(self.work(self.step))

    def close(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.end()


def likely(number: int) -> str:
    """Why a process may have been killed by this signal."""
    if number == signal.SIGKILL:
        return ", as the system does where memory runs out"
    crashes = (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
    return ": a library crashed on one of the images, or memory ran out" if number in crashes else ""


@contextmanager
def unsignalled() -> Iterator[None]:
    """What is started here never sees Ctrl-C or SIGTERM, which go to all processes at once: its parent ends it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def widen(pipe: BinaryIO) -> None:
    """Fewer changes between the processes, where the system allows it."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE)
