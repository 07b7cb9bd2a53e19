"""Losses of a training whose learning rate rises, and the rate that follows from them.

After Smith 2017, arXiv:1506.01186; the suggestions are fastai's `steep` and `valley`.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float64

SMOOTHING = 0.9
"""Share of the mean loss that an update keeps."""
DIVERGED = 4.0
"""Times the lowest mean loss: from there on training is lost."""
BEGINNING = 0.1
"""Of the updates, those that are no fall yet, but noise."""
LEAST = 5
"""Updates in a fall; fewer say nothing."""
CLEAR = 0.02
"""Share of the first loss by which it must fall."""


def rising(low: float, high: float, updates: int) -> optax.Schedule:
    """From `low` to `high`, each rate the same number of times the one before."""
    factor = math.log(high / low) / max(1, updates - 1)
    return lambda update: low * jnp.exp(factor * update)


@dataclass(frozen=True, eq=False)
class Sweep:
    """What a rising rate did to the loss.

    Attributes:
        rates: of the updates that were made.
        losses: of the batches before each update.
        diverged: whether it ended since the loss rose, or was not finite; else at the highest rate.
    """

    rates: Float64[np.ndarray, " updates"]
    losses: Float64[np.ndarray, " updates"]
    diverged: bool

    @property
    def smooth(self) -> Float64[np.ndarray, " updates"]:
        """The mean loss up to each update, older ones counting less."""
        return smoothed(self.losses)

    @property
    def suggestion(self) -> float | None:
        """A learning rate: within the longest fall of the loss, past its middle; None where it never falls clearly."""
        place = valley(self._fall)
        return None if place is None else float(self.rates[self._begin + place])

    @property
    def steepest(self) -> float | None:
        """Where the mean loss falls fastest."""
        if self.suggestion is None:
            return None
        return float(self.rates[self._begin + int(np.argmin(np.gradient(self._fall)))])

    @property
    def why(self) -> str:
        """The suggestion with its reason."""
        end = (
            f"it diverged at {self.rates[-1]:.2g}"
            if self.diverged
            else f"it did not diverge up to {self.rates[-1]:.2g}"
        )
        if self.suggestion is None:
            return (
                f"No rate is suggested: the loss never falls clearly, and {end}. Take more --updates, a higher --high, "
                "or look at the masks with python -m jaxseg.visualize."
            )
        return (
            f"Learning rate {self.suggestion:.2g}: within the longest fall of the loss, short of its end (fastai's "
            f"valley); it falls fastest at {self.steepest:.2g}, is lowest at {self.lowest:.2g}, and {end}."
        )

    @property
    def lowest(self) -> float:
        """Where the mean loss is lowest: already too high to train with."""
        return float(self.rates[lowest_of(self.smooth)])

    @property
    def _begin(self) -> int:
        return int(len(self.losses) * BEGINNING)

    @property
    def _fall(self) -> Float64[np.ndarray, " fewer"]:
        """The mean losses up to the lowest, without the beginning."""
        smooth = self.smooth
        return smooth[self._begin : lowest_of(smooth) + 1]


def smoothed(losses: Float64[np.ndarray, " updates"]) -> Float64[np.ndarray, " updates"]:
    """Exponential means, without the bias to 0 of the first (Kingma and Ba 2015, section 3)."""
    found, mean = [], 0.0
    for number, loss in enumerate(losses.tolist(), 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**number))
    return np.asarray(found, np.float64)


def lowest_of(losses: Float64[np.ndarray, " updates"]) -> int:
    """The place of the lowest that is finite; the first, if none is."""
    return int(np.where(np.isfinite(losses), losses, np.inf).argmin())


def has_diverged(losses: list[float]) -> bool:
    """Whether the last loss is not finite, or the mean is far above its lowest."""
    if not math.isfinite(losses[-1]):
        return True
    means = smoothed(np.asarray(losses, np.float64))
    return bool(means[-1] > DIVERGED * means.min())


def valley(losses: Float64[np.ndarray, " updates"]) -> int | None:
    """The place half-way through the middle third of the longest decreasing subsequence, as fastai's `valley`.

    None if there is no clear one.
    """
    count = len(losses)
    length = np.ones(count, int)
    for place in range(1, count):
        before = length[:place][losses[:place] > losses[place]]
        length[place] = 1 + before.max(initial=0)
    if not count or length.max() < LEAST or losses[0] - losses.min() < CLEAR * abs(losses[0]):
        return None
    last = int(length.argmax())
    section = int(length[last]) / 3
    return last - int(length[last]) + int(section) + int(section / 2)
