"""The learning rate over a training, as optax schedules."""

from dataclasses import dataclass

import optax

Rate = float | optax.Schedule


@dataclass(frozen=True)
class Constant:
    """The optimiser's learning rate, always.

    Attributes:
        warmup_epochs: rise from 0 in a line over so many epochs first.
    """

    warmup_epochs: float = 0.0

    def rate(self, highest: float, updates: int, epochs: int) -> Rate:
        """The learning rate by update, of which the training has so many."""
        rise = risen(self.warmup_epochs, updates, epochs)
        return warmed_up(highest, rise, optax.constant_schedule(highest)) if rise else highest


@dataclass(frozen=True)
class Cosine:
    """Half a cosine down to `final` times the highest (Loshchilov and Hutter 2017, arXiv:1608.03983).

    Attributes:
        warmup_epochs: rise from 0 in a line over so many epochs first.
        final: of the highest, at the end.
    """

    warmup_epochs: float = 0.0
    final: float = 0.0

    def rate(self, highest: float, updates: int, epochs: int) -> Rate:
        """The learning rate by update, of which the training has so many."""
        rise = risen(self.warmup_epochs, updates, epochs)
        return warmed_up(highest, rise, optax.cosine_decay_schedule(highest, updates - rise, self.final))


@dataclass(frozen=True)
class Polynomial:
    """(1 - done)^power times the highest, as nnU-Net does (Isensee et al. 2021), with its power.

    Attributes:
        warmup_epochs: rise from 0 in a line over so many epochs first.
        power: 1 is a line.
    """

    warmup_epochs: float = 0.0
    power: float = 0.9

    def rate(self, highest: float, updates: int, epochs: int) -> Rate:
        """The learning rate by update, of which the training has so many."""
        rise = risen(self.warmup_epochs, updates, epochs)
        return warmed_up(highest, rise, optax.polynomial_schedule(highest, 0.0, self.power, updates - rise))


@dataclass(frozen=True)
class OneCycle:
    """Up by half a cosine, then down by another (Smith and Topin 2018, arXiv:1708.07120), PyTorch's `OneCycleLR`.

    Attributes:
        rise: share of all steps that go up.
        start: the first rate is the highest divided by this.
        final: the last rate is the first divided by this.
    """

    rise: float = 0.3
    start: float = 25.0
    final: float = 1e4

    def rate(self, highest: float, updates: int, epochs: int) -> Rate:
        """The learning rate by update, of which the training has so many."""
        return optax.cosine_onecycle_schedule(updates, highest, self.rise, self.start, self.final)


Schedule = Constant | Cosine | Polynomial | OneCycle


def risen(warmup_epochs: float, updates: int, epochs: int) -> int:
    """The updates of the warm-up; at least one is left for what follows."""
    return min(round(warmup_epochs * updates / epochs), updates - 1)


def warmed_up(highest: float, rise: int, after: optax.Schedule) -> optax.Schedule:
    """`after`, once the rate has risen in a line; the first update is no lost one at rate 0."""
    line = optax.linear_schedule(highest / (rise + 1), highest, rise)
    return optax.join_schedules([line, after], [rise]) if rise else after
