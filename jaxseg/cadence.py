"""When a checkpoint is due."""

import time
from dataclasses import dataclass

from jaxseg.errors import InputError


@dataclass(frozen=True)
class Checkpointing:
    """When checkpoints are saved; one is at the end of each epoch in any case.

    Attributes:
        steps: after each so many steps; None: not by steps.
        minutes: after so many minutes without one; None: not by the clock.
    """

    steps: int | None = None
    minutes: float | None = 10.0

    def check(self) -> None:
        """Raise an InputError for what can't be kept."""
        if self.steps is not None and self.steps < 1:
            raise InputError(f"checkpointing.steps is {self.steps}: take at least 1, or None.")
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"checkpointing.minutes is {self.minutes}: take more than 0, or None.")


class Cadence:
    """Asked after each step."""

    def __init__(self, settings: Checkpointing) -> None:
        self.settings, self.saved = settings, time.monotonic()

    def by_steps(self, step: int) -> bool:
        """Whether the checkpoint of this step shall be saved, by its number."""
        return self.settings.steps is not None and step % self.settings.steps == 0

    def by_clock(self) -> bool:
        """Whether the last one was saved long ago."""
        minutes = self.settings.minutes
        return minutes is not None and time.monotonic() - self.saved >= 60 * minutes

    def note_save(self) -> None:
        """The minutes are counted from now."""
        self.saved = time.monotonic()
