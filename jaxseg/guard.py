"""What a training step does with a loss or a gradient that is not finite, or with a gradient that is a spike."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32, PyTree

from jaxseg.errors import InputError

WINDOW = 100
"""Steps over which the usual gradient norm is a mean, and before which nothing is called a spike."""


class Verdict(IntEnum):
    """What a step's gradient is."""

    SOUND = 0
    NOT_FINITE = 1
    SPIKE = 2


@dataclass(frozen=True)
class Guard:
    """What happens where a loss or a gradient is not finite. Such an update is never made.

    Attributes:
        action: `stop`: the run stops, and leaves a file that reproduces the step. `skip`: that update is left out and
            counted, and the run goes on.
        spike: a gradient whose norm is more than so many times its mean over about the last 100 steps is treated so
            too, from the 100th step on; 20 is a good start. None: only what is not finite.
    """

    action: Literal["stop", "skip"] = "stop"
    spike: float | None = None

    def check(self) -> None:
        """Raise an InputError for a factor that would call most gradients spikes."""
        if self.spike is not None and not self.spike > 1:
            raise InputError(f"guard.spike is {self.spike}: give a factor above 1, such as 20, or None.")


STOP = Guard()
"""The default."""


class Health(NamedTuple):
    """What the guard remembers: whether the run has stopped, updates left out, the usual norm of the gradients."""

    stopped: Bool[Array, ""]
    skipped: Int32[Array, ""]
    usual_norm: Float32[Array, ""]


def healthy() -> Health:
    """Before the first step."""
    return Health(jnp.zeros((), bool), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32))


def examine(
    guard: Guard,
    health: Health,
    step: Int32[Array, ""],
    *,
    loss: Float32[Array, ""],
    norm: Float32[Array, ""],
    statistics: PyTree,
) -> tuple[Int32[Array, ""], Health]:
    """The verdict on a step, and the health after it; that of a run that stops is the one before, but for its flag.

    Args:
        guard: the settings.
        health: before the step.
        step: steps before it.
        loss: of the batch.
        norm: of the whole gradient. It is not finite where some gradient is not, or its square is beyond float32: Adam
            could not go on from that either.
        statistics: the running statistics after the step.
    """
    values = [jnp.stack([loss, norm]), *(jnp.ravel(leaf) for leaf in jax.tree.leaves(statistics))]
    finite = jnp.isfinite(jnp.concatenate(values)).all()
    seen = step - health.skipped
    limit = jnp.where((seen < WINDOW) | (health.usual_norm == 0), np.inf, (guard.spike or np.inf) * health.usual_norm)
    spike = finite & (norm > limit)
    verdict = jnp.where(spike, Verdict.SPIKE, jnp.where(finite, Verdict.SOUND, Verdict.NOT_FINITE))

    # A spike counts as the highest norm that is none: so the mean follows where large gradients are there to stay.
    weight = jnp.where(health.usual_norm == 0, 1, 1 / jnp.clip(seen + 1, 1, WINDOW).astype(jnp.float32))
    usual = health.usual_norm + weight * (jnp.minimum(norm, limit) - health.usual_norm)
    unsound = verdict != Verdict.SOUND
    if guard.action == "stop":
        stopped = health.stopped | unsound
        after = Health(stopped, health.skipped, jnp.where(stopped, health.usual_norm, usual))
    else:
        after = Health(health.stopped, health.skipped + unsound, jnp.where(finite, usual, health.usual_norm))
    return verdict.astype(jnp.int32), after
