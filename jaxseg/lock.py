"""One run at a time in a folder."""

import json
import os
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NoReturn

from jaxseg.errors import InputError
from jaxseg.trouble import advice, reason

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

NAME = "run.lock"

HELD: "weakref.WeakSet[IO[Any]]" = weakref.WeakSet()


def let_go() -> None:
    """In a forked process: a lock is its parent's alone, and ends with it."""
    for file in HELD:
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=let_go)


def locked(file: IO[Any]) -> bool:
    """Keep other runs off until the file is closed, or the process ends; false where one is at it already."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network's file systems know no locks
        pass
    HELD.add(file)
    return True


@contextmanager
def sole_run(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made if it is not there; made in vain, it is removed.

    What a crash leaves of it holds nobody up: the system's lock ends with the process.

    Raises:
        InputError: if a run is at it, with its process, host and start; or if the folder can't be written.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = opened(folder / NAME)
    except OSError as error:
        raise InputError(f"{folder} can't be written: {reason(error)}. {advice(error, folder)}") from error
    try:
        yield
    finally:
        with file, suppress(OSError):
            (folder / NAME).unlink()
            if made:
                folder.rmdir()  # if nothing is in it


def opened(path: Path) -> IO[str]:
    while True:
        file = path.open("a+")
        if not locked(file):
            with file:
                refuse(file, path.parent)
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                break
        file.close()  # that of a run that has just ended, and removed it
    start = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    file.truncate(0)
    file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "start": start}) + "\n")
    file.flush()
    return file


def refuse(file: IO[str], folder: Path) -> NoReturn:
    """Tell whose the folder is."""
    for _ in range(20):
        file.seek(0)
        try:
            holder = json.loads(file.read())
            break
        except json.JSONDecodeError:  # it is writing that
            time.sleep(0.05)
    else:
        raise InputError(f"{folder} is in use by another run. Let it end, or give another --workdir.")
    raise InputError(
        f"{folder} is in use: process {holder['pid']} on {holder['host']} has been training there since "
        f"{holder['start']}. Let it end, or stop it by kill {holder['pid']} there, or give another --workdir."
    )
