"""Reads that fail for a moment are tried again, and none is waited for without end."""

import errno
import threading
import warnings
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from jaxseg.data.coco import DataError

T = TypeVar("T")
LASTING = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EINVAL)
"""What the next try meets too. Anything else may be a disk or network that fails for a moment: also ENOENT."""
PAUSE = 0.1  # seconds before the second try; four times as many before each further one
SLICE = 0.25  # seconds: what a process that was stopped meanwhile takes for waiting, at most
MOST_LEFT = 64  # threads in reads that never end
MOST_TOLD = 5  # images that a retry helped
MOST_VAIN = 3  # missing files that were waited for in vain; the next are not waited for


class Unavailable(DataError):
    """A file can't be read, for a reason that may pass."""


class Vanished(Unavailable):
    """There is no such file, or not for the moment."""


class Closed(Exception):
    """Nobody waits for the sample any more."""


class Patience:
    """Calls what reads files: again where they are unavailable, up to `retries` times, each `timeout` seconds long.

    A thread in a read that never ends can't be stopped. It is left behind, and another goes on.
    """

    left = told = vain = 0  # of the process

    def __init__(self, retries: int, timeout: float | None) -> None:
        self.retries, self.timeout = retries, timeout
        self.closed = threading.Event()
        self.helpers: list[Helper] = []
        self.hopeless: set[int] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return Patience, (self.retries, self.timeout)

    def renewed(self) -> "Patience":
        """Another, to be closed, that knows what is hopeless."""
        other = Patience(self.retries, self.timeout)
        other.hopeless = self.hopeless
        return other

    def call(self, function: Callable[[int], T], position: int, name: Callable[[int], object] = str) -> T:
        """`function(position)`. What was given up before is tried once.

        Raises:
            Unavailable: when it was tried often enough; and what `function` raises beside.
        """
        pause, tries, first = PAUSE, 1, None
        while True:
            try:
                found = self.within(function, position, name)
            except Unavailable as error:
                lost = isinstance(error, Vanished) and Patience.vain >= MOST_VAIN
                if tries > self.retries or lost or position in self.hopeless:
                    self.hopeless.add(position)
                    Patience.vain += isinstance(error, Vanished)
                    often = f" Tried {tries} times." if tries > 1 and not isinstance(error, Vanished) else ""
                    raise type(error)(f"{error}{often}") from error
                first = first or error
                if self.closed.wait(pause):
                    raise Closed from error
                pause, tries = pause * 4, tries + 1
            else:
                if first and Patience.told < MOST_TOLD:
                    Patience.told += 1
                    more = " More such are not told." if Patience.told == MOST_TOLD else ""
                    warnings.warn(f"Read at try {tries}. Before: {first}{more}", stacklevel=2)
                return found

    def within(self, function: Callable[[int], T], argument: int, name: Callable[[int], object] = str) -> T:
        """`function(argument)`, in a thread of our own, for so long as is allowed."""
        if self.timeout is None:
            return function(argument)
        try:
            helper = self.helpers.pop()
        except IndexError:
            helper = Helper()
        helper.ask(function, argument)
        waited, piece = 0.0, min(SLICE, self.timeout)
        while not helper.done.acquire(timeout=piece):
            waited += piece
            if self.closed.is_set():
                helper.dismiss()
                raise Closed
            if waited >= self.timeout:
                helper.dismiss()
                Patience.left += 1
                if Patience.left > MOST_LEFT:
                    raise DataError(f"{MOST_LEFT} reads have stalled: is the disk or mount of the images there?")
                raise Unavailable(f"{name(argument)} can't be read: no answer within {self.timeout:g} s.")
        self.helpers.append(helper)
        if self.closed.is_set():  # and may have dismissed all helpers but this
            helper.dismiss()
        return helper.result()

    def close(self) -> None:
        """Whoever waits here stops."""
        self.closed.set()
        for helper in list(self.helpers):
            helper.dismiss()


class Helper:
    """A thread that does what another asks for."""

    def __init__(self) -> None:
        self.asked, self.done = SimpleQueue(), threading.Lock()
        self.done.acquire()
        self.found: Any = None
        self.error: BaseException | None = None
        threading.Thread(target=self.serve, name="jaxseg-reader", daemon=True).start()

    def ask(self, function: Callable[[int], Any], argument: int) -> None:
        self.asked.put((function, argument))

    def dismiss(self) -> None:
        """It ends, once it is done with what it does."""
        self.asked.put(None)

    def result(self) -> Any:
        found, error, self.found, self.error = self.found, self.error, None, None
        if error is not None:
            raise error
        return found

    def serve(self) -> None:
        while work := self.asked.get():
            function, argument = work
            try:
                self.found = function(argument)
            except BaseException as error:  # the asker's
                self.error = error
            self.done.release()
