"""A signal is obeyed at once, or at the end of what is held; test_resume.py has whole runs."""

import os
import signal
import sys
import threading
import time
import types
from signal import SIGINT, SIGTERM

import pytest

from jaxseg.stopping import SIGNALS, Stopped, Stopping


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


def kill(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def test_it_stops_at_once_but_for_what_is_held() -> None:
    before, done = handlers(), []

    def work() -> None:
        with Stopping() as stopping:
            stopping.saved = "All is well."
            with stopping.held():
                done.append("before")
            with stopping.held():
                kill(SIGTERM)
                done.append("held")
                assert signal.getsignal(SIGTERM) == signal.SIG_DFL, "a second signal ends the program"
            done.append("too late")

    with pytest.raises(Stopped, match=r"Stopped\. All is well\. The same"):
        work()
    assert done == ["before", "held"]
    assert handlers() == before


def test_what_waits_is_left_at_once() -> None:
    before = handlers()

    def wait() -> None:
        with Stopping():
            threading.Timer(0.1, kill, (SIGINT,)).start()
            time.sleep(20)

    start = time.monotonic()
    with pytest.raises(Stopped):
        wait()
    assert time.monotonic() - start < 10
    assert handlers() == before


def test_an_error_within_what_is_held_goes_before_the_signal() -> None:
    def fail() -> None:
        with Stopping() as stopping, stopping.held():
            kill(SIGTERM)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


def test_an_ignored_signal_stays_ignored_and_other_threads_hear_none() -> None:
    before = signal.signal(SIGINT, signal.SIG_IGN)
    try:
        with Stopping():
            kill(SIGINT)
        found: list[object] = []

        def elsewhere() -> None:
            with Stopping():
                found.extend(handlers())

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert found == handlers()
    finally:
        signal.signal(SIGINT, before)


def test_in_a_notebook_a_second_interrupt_leaves_the_kernel_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))

    def work() -> None:
        with Stopping() as stopping, stopping.held():
            kill(SIGINT)
            assert stopping.asked == SIGINT
            kill(SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        work()
    assert type(caught.value) is KeyboardInterrupt
