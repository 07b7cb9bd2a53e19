"""Runs that die: each a process of its own, forked from one that has imported everything and started nothing."""

import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import jaxseg
from jaxseg.config import to_json

Death = tuple[str, int, int]
"""A signal that comes with the n-th call (from 1) of a function: ("jaxseg.training.Training.save", 2, SIGKILL)."""


class Mortals:
    """Starts runs. Close it at the end."""

    def __init__(self, script: str = __file__, environment: dict[str, str] | None = None) -> None:
        """`script` calls `mother`, with what a child does."""
        package = str(Path(jaxseg.__file__).parents[1])
        self.mother = subprocess.Popen(
            [sys.executable, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment or {**os.environ, "PYTHONPATH": package, "XLA_FLAGS": ""},
            start_new_session=True,
        )

    def run(self, config: jaxseg.Config, workdir: Path, *deaths: Death) -> tuple[int, str]:
        """One run to its end: its exit status, or minus the signal that killed it; and all that it printed."""
        self.start(order(config, workdir, deaths=deaths))
        return self.end()

    def start(self, order: dict[str, Any]) -> None:
        """Begin a run."""
        assert self.mother.stdin is not None
        self.mother.stdin.write(json.dumps(order) + "\n")
        self.mother.stdin.flush()

    def end(self) -> tuple[int, str]:
        """Wait for its end, which `run` returns."""
        assert self.mother.stdout is not None
        answer = json.loads(self.mother.stdout.readline())
        return answer["status"], answer["printed"]

    def close(self) -> None:
        """End them all."""
        self.mother.communicate(timeout=30)


def order(config: jaxseg.Config, workdir: Path, **more: Any) -> dict[str, Any]:
    """What a child is told."""
    return {"config": to_json(config), "workdir": str(workdir), "deaths": (), **more}


def doomed(target: str, nth: int, number: int) -> None:
    """Wrap a function, so that its n-th call is preceded by a signal."""
    owner, calls = locate(target.rpartition(".")[0]), 0
    name = target.rpartition(".")[2]
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    setattr(owner, name, wrapped)


def locate(path: str) -> Any:
    """A module, or a class in one."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def live(order: dict[str, Any], output: Path) -> None:
    """In the child: run, and end the process."""
    status = 1
    try:
        with output.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        if not order.get("figures"):
            Figure.savefig = lambda *_, **__: None  # it takes longer than all the rest
        for death in order["deaths"]:
            doomed(*death)
        script = output.with_suffix(".py")
        script.write_text(f"from jaxseg.config import from_json\nconfig = from_json({order['config']!r})\n")
        os.environ["XLA_FLAGS"] = order.get("xla", "")
        jaxseg.train.main(["--config", str(script), "--workdir", order["workdir"], *order.get("flags", ())])
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # told, as a program's end tells it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def mother(live: Callable[[dict[str, Any], Path], None]) -> None:
    """Answers each line of orders with a child's end."""
    output = Path(f"/tmp/jaxseg-mortal-{os.getpid()}")
    for name in ("jaxseg.train", "matplotlib.backends.backend_agg", "tensorboardX"):
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            live(json.loads(line), output)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), "printed": output.read_text()}), flush=True)
    for path in (output, output.with_suffix(".py")):
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    mother(live)
