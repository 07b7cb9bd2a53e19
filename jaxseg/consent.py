"""What a run does on which all its processes must agree: to save by the clock, to stop by a signal."""

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import TypeVar

import jax
import numpy as np
from jaxtyping import Array, Int32

from jaxseg import hosts
from jaxseg.arrays import Batch
from jaxseg.cadence import Cadence
from jaxseg.loop import Compiled
from jaxseg.step import StepResult, TrainState
from jaxseg.stopping import Stopping

Item = TypeVar("Item")


class Wish(IntEnum):
    """Of one process; the highest is what all do."""

    NOTHING = 0
    SAVE = 1
    STOP = 2


class Consent:
    """Each process sends its wish to the devices along with a step, and sees with that step's result the highest.

    So all see it between the same two steps, and none waits for it. A single process agrees with itself.
    """

    def __init__(self, compiled: Compiled, stopping: Stopping, cadence: Cadence) -> None:
        self.compiled, self.stopping, self.cadence = compiled, stopping, cadence
        self.agreed = Wish.NOTHING
        rows, copies = compiled.layout.batch, compiled.layout.state
        self.train = jax.jit(
            lambda state, batch, wishes: (*compiled.train(state, batch), wishes.max()),
            donate_argnums=0,
            in_shardings=(copies, rows, rows),
            out_shardings=copies,
        )
        self.highest = jax.jit(lambda wishes: wishes.max(), in_shardings=rows, out_shardings=copies)

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, StepResult, Int32[Array, ""] | None]:
        """A training step, with the highest wish: to `hear` once its result is looked at."""
        if not hosts.several():
            return *self.compiled.train(state, batch), None
        return self.train(state, batch, self.wishes())

    def wishes(self) -> Int32[Array, " devices"]:
        """This process's, once for each of its devices; the others' beside them."""
        wish = Wish.NOTHING
        if self.stopping.asked is not None:
            wish = Wish.STOP
        elif hosts.first() and self.cadence.by_clock():
            wish = Wish.SAVE
        layout = self.compiled.layout
        return layout.put(np.full(len(layout.mesh.local_devices), wish, np.int32))

    def hear(self, highest: Int32[Array, ""] | None) -> None:
        """With a step's result."""
        if highest is not None:
            self.agreed = max(self.agreed, Wish(int(highest)))

    def due(self, step: int) -> bool:
        """Whether the checkpoint of this step shall be saved."""
        by_clock = self.agreed == Wish.SAVE if hosts.several() else self.cadence.by_clock()
        return by_clock or self.cadence.by_steps(step)

    def note_save(self) -> None:
        """The minutes are counted from now."""
        self.cadence.note_save()
        if self.agreed == Wish.SAVE:
            self.agreed = Wish.NOTHING

    def obey(self) -> None:
        """Stop, where all processes are to stop.

        Raises:
            Stopped: on all of them.
        """
        if self.agreed == Wish.STOP:
            raise self.stopping.stopped()

    def between(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, and a stop between two of them. For what waits for its results anyway."""
        for item in items:
            if hosts.several():
                self.hear(self.highest(self.wishes()))
                self.obey()
            yield item
