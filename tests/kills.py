"""A run that is watched: it tells through a pipe what it is at, which is how its killer knows what it hit."""

import functools
import itertools
import json
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mortal
from mortal import Mortals, locate

PHASES = {
    "restore": ("jaxseg.checkpoint.Checkpoints.newest", "jaxseg.logs.cut"),
    "step": ("jaxseg.training.Training.advance",),
    "evaluation": ("jaxseg.training.evaluate_all",),
    "log writing": (
        *(f"jaxseg.logs.RunLog.{name}" for name in ("numbers", "clock", "pictures", "secured")),
        "jaxseg.outcome.draw_curves",
        "jaxseg.faults.Faults.write",
    ),
    "checkpoint writing": ("jaxseg.checkpoint.Checkpoints.save", "jaxseg.checkpoint.Checkpoints.commit"),
    "digest writing": ("jaxseg.shelf.seal",),
    "removal of old checkpoints": ("jaxseg.shelf.Shelf.keep",),
    "conclusion": ("jaxseg.train.choose_threshold", "jaxseg.outcome.conclude"),
}
"""The functions that a run is within, in each. Until its loop begins it is in "start-up"; "compile" is JAX's own."""
ALL = ("start-up", "compile", *PHASES)


# In the run's own process.


class Marks:
    """One line for each beginning and end of a phase, and for what the killer must know beside that."""

    def __init__(self, path: str) -> None:
        self.pipe = os.open(path, os.O_WRONLY)

    def tell(self, sign: str, what: str) -> None:
        """Whole, and at once: what is told stays told if the process is killed in the next moment."""
        os.write(self.pipe, f"{sign}{threading.get_ident()} {what}\n".encode())

    def within(self, phase: str, target: str) -> None:
        """Tell of each call of a function."""
        owner, name = locate(target.rpartition(".")[0]), target.rpartition(".")[2]
        real = getattr(owner, name)

        @functools.wraps(real)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.tell("+", phase)
            try:
                return real(*args, **kwargs)
            finally:
                self.tell("-", phase)

        setattr(owner, name, wrapped)


def record(order: dict[str, Any]) -> None:
    """Tell of all phases, and write down the batch of each step before it is used."""
    import jax

    from jaxseg.checkpoint import Checkpoints
    from jaxseg.training import Training

    marks = Marks(order["marks"])
    marks.tell("=", f"pid {os.getpid()}")
    marks.tell("+", "start-up")
    run, advance, newest = Training.run, Training.advance, Checkpoints.newest

    def started(self: Training) -> None:
        marks.tell("-", "start-up")
        run(self)

    def restored(*args: Any) -> Any:
        if found := newest(*args):
            marks.tell("=", "restored")
        return found

    def used(self: Training, loaded: Any) -> None:
        batch = loaded.batch
        seen = functools.reduce(lambda crc, array: zlib.crc32(array.tobytes(), crc), batch, 0)
        line = json.dumps([self.step + 1, loaded.image_ids.tolist(), seen])
        handle = os.open(order["batches"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, f"{line}\n".encode())
        os.close(handle)
        advance(self, loaded)

    Training.run, Training.advance, Checkpoints.newest = started, used, restored
    for phase, targets in PHASES.items():
        for target in targets:
            marks.within(phase, target)

    begun = False

    def begins(event: str, **_: Any) -> None:
        nonlocal begun
        if event == "/jax/compilation_cache/compile_requests_use_cache":
            begun = True
            marks.tell("+", "compile")

    def ends(event: str, *_: Any, **__: Any) -> None:
        nonlocal begun
        if event == "/jax/core/compile/backend_compile_duration" and begun:
            begun = False
            marks.tell("-", "compile")

    jax.monitoring.register_event_listener(begins)
    jax.monitoring.register_event_duration_secs_listener(ends)


def live(order: dict[str, Any], output: Path) -> None:
    """A run in a session of its own, so that what it leaves can be found."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    record(order)
    mortal.live(order, output)


# In the killer's.


class Prey:
    """A run that was started: the marks that came from it, and those phases it is within."""

    def __init__(self, pipe: int, process: subprocess.Popen[bytes] | None) -> None:
        """`process`: None if it is another's child, and will tell its id."""
        self.pipe, self.rest, self.process = pipe, b"", process
        self.told, self.pid = False, process.pid if process else None
        self.ended = self.restored = False
        self.open: dict[str, list[tuple[str, int, float]]] = {}
        self.times: dict[str, list[float]] = {}

    def look(self, seconds: float) -> None:
        """Read what comes within this time, or until something does."""
        if not select.select([self.pipe], [], [], max(0.0, seconds))[0]:
            # One that ended before it opened the pipe is never heard of.
            self.ended = self.process is not None and self.process.poll() is not None
            return
        raw = os.read(self.pipe, 1 << 16)
        if not raw:
            self.ended = self.told or (self.process is not None and self.process.poll() is not None)
            time.sleep(0 if self.ended else 0.001)  # nobody writes yet
        *lines, self.rest = (self.rest + raw).split(b"\n")
        for line in lines:
            self.note(line.decode())

    def note(self, line: str) -> None:
        thread, what = line[1:].split(" ", 1)
        if line[0] == "=":
            self.restored |= what == "restored"
            if what.startswith("pid "):
                self.told, self.pid = True, int(what[4:])
                self.open.clear()  # from now on it tells itself
        elif line[0] == "+":
            times = self.times.setdefault(what, [])
            self.open.setdefault(thread, []).append((what, len(times), time.monotonic()))
            times.append(0.0)
        else:
            what, place, began = self.open[thread].pop()
            self.times[what][place] = time.monotonic() - began

    def until(self, done: Callable[[], bool]) -> None:
        """Look on until then, or to its end."""
        while not done() and not self.ended:
            self.look(1.0)

    def within(self) -> set[str]:
        """The innermost phase of each thread."""
        return {phases[-1][0] for phases in self.open.values() if phases}


class Hunt:
    """Starts runs, one after another, and kills them."""

    def __init__(self, folder: Path, *, figures: bool, compiled: Path | None) -> None:
        """`folder`: for the caches, the temporary files and the pipes of all of them. `compiled`: programs that were
        compiled, to begin with."""
        self.folder, self.figures, self.count = folder, figures, itertools.count()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")},
            "JAXSEG_CACHE": str(folder / "cache"),
            "TMPDIR": str(folder / "temporary"),
            "PYTHONPATH": str(Path(mortal.jaxseg.__file__).parents[1]),
            "XLA_FLAGS": "",
            "MPLBACKEND": "agg",
        }
        (folder / "temporary").mkdir(parents=True)
        if compiled:
            compiled.mkdir(exist_ok=True)
            self.compiled.parent.mkdir()
            self.compiled.symlink_to(compiled)
        self.mortals = Mortals(__file__, self.environment)
        self.shared_before = shared()
        self.slowest = 0.0
        """Seconds that the last trace of a killed run needed to go."""

    @property
    def compiled(self) -> Path:
        """Where the programs are that JAX compiled."""
        return self.folder / "cache" / "compiled"

    def close(self) -> None:
        self.mortals.close()

    def start(self, config: Any, workdir: Path, *, fresh: bool = False) -> "Chase":
        """`fresh`: with a Python of its own, else forked from one that has imported everything."""
        pipe = self.folder / f"marks-{next(self.count)}"
        os.mkfifo(pipe)
        told = {"marks": str(pipe), "batches": str(self.batches(workdir)), "figures": self.figures}
        order = mortal.order(config, workdir, **told)
        end = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        if not fresh:
            self.mortals.start(order)
            return Chase(Prey(end, None), self.mortals, pipe)
        output = pipe.with_suffix(".txt")
        command = [sys.executable, __file__, json.dumps(order), str(output)]
        prey = Prey(end, subprocess.Popen(command, env=self.environment, start_new_session=True))
        prey.note("+0 start-up")  # its imports, of which it can't tell itself
        return Chase(prey, self.mortals, output)

    def batches(self, workdir: Path) -> Path:
        """The file of what each step of a run was given."""
        return self.folder / f"{workdir.name}.batches"

    def leftovers(self, session: int) -> list[str]:
        """Processes of a run that ended, and shared memory, that are there still after a while."""
        began = time.monotonic()
        while (left := [*processes(session), *sorted(shared() - self.shared_before)]) and time.monotonic() < began + 20:
            time.sleep(0.01)
        self.slowest = max(self.slowest, time.monotonic() - began)
        return left


class Chase:
    """One start, and its end."""

    def __init__(self, prey: Prey, mortals: Mortals, output: Path) -> None:
        self.prey, self.mortals, self.output = prey, mortals, output

    def strike(self, draw: random.Random, *, group: bool = False, warning: int | None = None) -> None:
        """SIGKILL, to it alone or to its whole group; after another signal and a moment, if there is a warning."""
        pid = self.prey.pid
        assert pid is not None
        send = os.killpg if group else os.kill
        try:
            if warning is not None:
                send(pid, warning)
                time.sleep(draw.uniform(0.0, 0.2))
            send(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended
            pass

    def end(self) -> tuple[int, str]:
        """Wait for it: its status, and what it printed."""
        self.prey.until(lambda: False)
        os.close(self.prey.pipe)
        if self.prey.process is None:
            return self.mortals.end()
        return self.prey.process.wait(), self.output.read_text() if self.output.exists() else ""


def processes(session: int) -> list[str]:
    """Those that live in a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its = path.read_text().rpartition(")")[2].split()[:4]
            if int(its) == session and state not in "ZX":
                found.append(f"process {path.parent.name}: {(path.parent / 'cmdline').read_text()[:80]}")
        except (OSError, ValueError):  # it has ended meanwhile
            continue
    return found


def shared() -> set[str]:
    """The shared memory that has a name."""
    return set(os.listdir("/dev/shm")) if Path("/dev/shm").exists() else set()


if __name__ == "__main__":
    if sys.argv[1:]:
        live(json.loads(sys.argv[1]), Path(sys.argv[2]))
    else:
        mortal.mother(live)
