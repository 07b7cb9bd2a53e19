"""A run that is asked to stop, by Ctrl-C or by the system: it ends where nothing is lost."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
CLOSED = b"\0"
STATUS = 75
"""The exit status: the same command goes on (EX_TEMPFAIL of sysexits.h)."""


class Stopped(KeyboardInterrupt):
    """The run was asked to stop, and did; the text says what is saved."""

    alike = False
    """Whether all processes of the run stop by it, at the same step."""


class Stopping:
    """While it is entered, the first signal ends the run by `Stopped`: at once, or where `held` is left.

    A second one does what it does anywhere: it ends the program, wherever that is. Outside the main thread, where
    Python hears no signals, and for a signal that was ignored before, all stays as it is.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.saved = "No step was trained this time."
        """What a stop at this moment leaves."""
        self.before: dict[int, Any] = {}
        self.holding = False
        self.by_consent = False
        """While it is, nothing is obeyed here: all processes of a run stop together, see `consent.py`."""
        self.listener: Listener | None = None

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
            if not watched_by_a_kernel():
                self.listener = Listener(heard)
            self.before = {number: signal.signal(number, self.hear) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if self.listener:
            self.listener.close()

    def hear(self, number: int, _: FrameType | None) -> None:
        """The first signal's handler."""
        self.asked = number
        for other in self.before:
            soft = other == signal.SIGINT and watched_by_a_kernel()
            signal.signal(other, signal.default_int_handler if soft else signal.SIG_DFL)
        if not self.holding and not self.by_consent:
            raise self.stopped()

    def held(self) -> "Held":
        """For what must not be cut in two: a signal meanwhile is obeyed at its end."""
        return Held(self)

    def stopped(self) -> Stopped:
        """What ends the run."""
        stopped = Stopped(f"Stopped. {self.saved} The same command goes on.")
        stopped.alike = self.by_consent
        return stopped


class Held:
    """Entered by `with stopping.held():`."""

    def __init__(self, stopping: Stopping) -> None:
        self.stopping = stopping

    def __enter__(self) -> None:
        self.stopping.holding = True

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stopping.holding = False
        if kind is None and self.stopping.asked is not None and not self.stopping.by_consent:
            raise self.stopping.stopped()


class Listener:
    """Hears each signal as it comes, and answers even while the main thread compiles, or waits for a device.

    Python calls a handler only between two of the main thread's own steps.
    """

    def __init__(self, numbers: list[signal.Signals]) -> None:
        self.numbers = numbers
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)
        self.before = signal.set_wakeup_fd(self.writing, warn_on_full_buffer=False)
        self.thread = threading.Thread(target=self.listen, name="signals", daemon=True)
        self.thread.start()

    def listen(self) -> None:
        count = 0
        while heard := os.read(self.reading, 1):  # the number of a signal
            if heard == CLOSED:
                return
            if heard[0] not in self.numbers:
                continue
            count += 1
            if count > 1:  # the handler has not run yet, or this one would have ended the program
                os._exit(128 + heard[0])
            name = signal.Signals(heard[0]).name
            print(f"{name}: stopping where nothing is lost. Once more stops at once.", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Hear no more."""
        signal.set_wakeup_fd(self.before)
        os.write(self.writing, CLOSED)
        self.thread.join()
        os.close(self.writing)
        os.close(self.reading)


def watched_by_a_kernel() -> bool:
    """In a notebook, where the program shall outlive a run."""
    return "ipykernel" in sys.modules
