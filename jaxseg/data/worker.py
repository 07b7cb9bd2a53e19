"""What a worker process does: it makes the batches of its share of the steps, and leaves with its parent."""

import itertools
import os
import pickle
import select
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np


def main() -> None:
    """Serve until the parent is gone, however it went: its end of our input closes with it."""
    out = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)  # what libraries print must not mix with the batches
    try:
        assembly, first, stride = pickle.load(sys.stdin.buffer)
    except (OSError, EOFError, pickle.UnpicklingError):
        if select.select([sys.stdin], [], [], 5.0)[0]:
            os._exit(0)  # the parent is gone already, and its cache with it
        raise
    threading.Thread(target=leave_with_parent, daemon=True).start()
    with ThreadPoolExecutor(1) as sender:  # a batch is sent while the next is made
        sent = None
        for step in itertools.count(first, stride):
            made = attempt(assembly, step)
            if sent:
                sent.result()
            sent = sender.submit(send, out, made)
            if isinstance(made, Exception):
                break
    threading.Event().wait()


def attempt(assembly: Any, step: int) -> Any:
    try:
        return assembly(step)
    except Exception as error:  # raised again by the parent, at this step
        return error


def leave_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def send(out: BinaryIO, what: Any) -> None:
    """The pickled object, then its arrays as they lie, each with its length before."""
    arrays: list[pickle.PickleBuffer] = []
    head = pickle.dumps(what, 5, buffer_callback=arrays.append)
    pieces = [memoryview(head), *(array.raw() for array in arrays)]
    try:
        write(out, memoryview(np.asarray([len(pieces), *map(len, pieces)], "<u8").tobytes()))
        for piece in pieces:
            write(out, piece)
    except BrokenPipeError:
        os._exit(0)  # nobody wants it


def write(out: BinaryIO, raw: memoryview) -> None:
    while raw:
        raw = raw[out.write(raw) :]


def receive(file: BinaryIO) -> Any:
    """What `send` sent.

    Raises:
        EOFError: if the sender is gone.
    """
    (count,) = np.frombuffer(read(file, 8), "<u8")
    head, *arrays = (read(file, int(length)) for length in np.frombuffer(read(file, 8 * int(count)), "<u8"))
    return pickle.loads(head, buffers=arrays)


def read(file: BinaryIO, length: int) -> memoryview:
    raw = np.empty(length, np.uint8).data
    done = 0
    while done < length:
        got = file.readinto(raw[done:])  # pyright: ignore[reportAttributeAccessIssue]  a raw pipe has it
        if not got:
            raise EOFError
        done += got
    return raw
