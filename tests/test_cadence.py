"""A checkpoint is due after so many steps, and after so many minutes without one."""

import pytest

from jaxseg.cadence import Cadence, Checkpointing
from jaxseg.errors import InputError


def test_by_steps() -> None:
    cadence = Cadence(Checkpointing(steps=3, minutes=None))
    assert [step for step in range(1, 10) if cadence.by_steps(step)] == [3, 6, 9]


def test_by_minutes_since_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("jaxseg.cadence.time.monotonic", lambda: now[0])
    cadence = Cadence(Checkpointing(minutes=2.0))
    for passed, due in ((119.0, False), (1.0, True), (60.0, True)):
        now[0] += passed
        assert cadence.by_clock() == due
    cadence.note_save()
    now[0] += 119.0
    assert not cadence.by_clock()
    now[0] += 1.0
    assert cadence.by_clock()


def test_never_but_at_the_ends_of_epochs() -> None:
    cadence = Cadence(Checkpointing(steps=None, minutes=None))
    assert not any(cadence.by_steps(step) for step in range(1, 100))
    assert not cadence.by_clock()


@pytest.mark.parametrize("settings", [Checkpointing(steps=0), Checkpointing(minutes=0.0)])
def test_what_can_not_be_kept_is_told(settings: Checkpointing) -> None:
    with pytest.raises(InputError, match="checkpointing"):
        settings.check()
