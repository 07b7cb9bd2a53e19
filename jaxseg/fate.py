"""What ends one process of a run ends all of them, and is told: none waits for one that is gone."""

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, NoReturn

import jax

from jaxseg import hosts
from jaxseg.errors import InputError
from jaxseg.stopping import STATUS, Stopped

LOOK = 0.5
"""Seconds between two looks at the others."""
PATIENCE = 120
"""Looks without a sign of life, before a process counts as gone: about a minute. JAX itself takes 100 seconds."""
LAST_WORDS = 5.0
"""Seconds for the others to hear of the end."""
ALIVE, END, HEARD = "jaxseg/alive/", "jaxseg/end/", "jaxseg/heard/"


@contextmanager
def shared() -> Iterator[None]:
    """Around a run: of several processes the first alone prints, and each looks after the others."""
    if not hosts.several():
        yield
        return
    watch = Watch()
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(sys.stdout if hosts.first() else nowhere), reported():
            yield
    finally:
        watch.close()


@contextmanager
def reported() -> Iterator[None]:
    """Within `shared`, around what may end one process alone: it ends all, at once, as a kill would.

    An error that says of itself that it is `alike` on all processes passes.
    """
    try:
        yield
    except BaseException as error:
        if not hosts.several() or getattr(error, "alike", False):
            raise
        if not isinstance(error, InputError | Stopped | OSError | jax.errors.JaxRuntimeError):
            traceback.print_exc()
        end(told(error), STATUS if isinstance(error, Stopped) else 1)


def told(error: BaseException) -> str:
    """What the other processes hear."""
    if isinstance(error, InputError | Stopped):
        return str(error)
    line = (str(error).splitlines() or [""])[0][:300]
    if isinstance(error, jax.errors.JaxRuntimeError):
        return f"a device, or another process, failed: {line}. The same command, on all hosts, goes on."
    return f"{type(error).__name__}: {line}"


def end(text: str, status: int) -> NoReturn:
    """End all processes: the first that says why is heard."""
    with suppress(jax.errors.JaxRuntimeError):  # there is an end already
        said = {"process": hosts.index(), "host": socket.gethostname(), "pid": os.getpid(), "text": text}
        hosts.store().key_value_set(f"{END}why", json.dumps({**said, "status": status}))
    try:
        leave(json.loads(hosts.store().key_value_try_get(f"{END}why")))
    except jax.errors.JaxRuntimeError:  # the first process is gone, and the store with it
        print(f"error: {text}", file=sys.stderr, flush=True)
        os._exit(status)


def leave(why: dict[str, Any]) -> NoReturn:
    """As it was said: the first process tells it, and so does the one that it is about."""
    if hosts.index() in (0, why["process"]):
        kind = "" if why["status"] == STATUS else "error: "
        source = f"process {why['process']} (pid {why['pid']} on {why['host']}): "
        print(f"{kind}{source if why['process'] != hosts.index() else ''}{why['text']}", file=sys.stderr, flush=True)
    with suppress(jax.errors.JaxRuntimeError):
        store, until = hosts.store(), time.monotonic() + LAST_WORDS
        store.key_value_set(f"{HEARD}{hosts.index()}", "", allow_overwrite=True)
        while hosts.first() and len(store.key_value_dir_get(HEARD)) < hosts.count() and time.monotonic() < until:
            time.sleep(LOOK / 5)  # the store ends with this process
    sys.stdout.flush()
    os._exit(why["status"])


class Watch:
    """Gives a sign of life, and ends this process where another has ended; the first misses the signs of the others."""

    def __init__(self) -> None:
        self.signs: dict[str, str] = {}
        self.missed: dict[str, int] = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, name="watch", daemon=True)
        self.thread.start()

    def close(self) -> None:
        """Watch no more."""
        self.over.set()
        self.thread.join()

    def run(self) -> None:
        for sign in range(sys.maxsize):
            if self.over.wait(LOOK):
                return
            try:
                hosts.store().key_value_set(f"{ALIVE}{hosts.index()}", str(sign), allow_overwrite=True)
                if ends := hosts.store().key_value_dir_get(END):
                    leave(json.loads(ends[0][1]))
                gone = self.gone() if hosts.first() else None
            except jax.errors.JaxRuntimeError as error:
                gone = self.unreachable(error)
            if gone:
                end(gone, 1)

    def gone(self) -> str | None:
        """What to say where a process gives no sign of life."""
        for key, sign in hosts.store().key_value_dir_get(ALIVE):
            self.missed[key] = self.missed.get(key, 0) + 1 if self.signs.get(key) == sign else 0
            self.signs[key] = sign
            if self.missed[key] > PATIENCE:
                return (
                    f"process {key.rpartition('/')[2]} gives no sign of life for {PATIENCE * LOOK:.0f} seconds: it was "
                    "killed, or its host is gone. The same command, on all hosts, goes on from the last checkpoint."
                )
        return None

    def unreachable(self, error: Exception) -> str | None:
        """What to say where the first process, which keeps the store, does not answer."""
        self.missed[""] = self.missed.get("", 0) + 1
        if self.missed[""] > PATIENCE:
            return f"the first process does not answer ({str(error).splitlines()[0][:200]}): its host may be gone."
        return None
