"""What an epoch has summed so far: to JSON and back, so that a run that goes on within it ends in the same bytes."""

import math
from typing import Any

import numpy as np

from jaxseg.metrics import Totals
from jaxseg.step import StepResult


class Sums:
    """Over the steps of an epoch whose results are known."""

    def __init__(self, totals: Totals, losses: list[float]) -> None:
        """`losses` are those of the steps since the last record."""
        self.totals, self.losses = totals, losses

    @classmethod
    def empty(cls, classes: int) -> "Sums":
        """At an epoch's start."""
        return cls(Totals.empty(classes), [])

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Sums":
        """What `to_json` gave."""
        confusion = np.array(saved["confusion"], np.int64)
        return cls(Totals(saved["loss"], saved["pixels"], confusion), list(saved["losses"]))

    def to_json(self) -> dict[str, Any]:
        """Floats as they are: JSON keeps each bit of them."""
        loss, pixels, confusion = self.totals
        return {"loss": loss, "pixels": pixels, "confusion": confusion.tolist(), "losses": list(self.losses)}

    def add(self, result: StepResult) -> None:
        """One more step's."""
        loss = float(result.loss)
        self.totals = self.totals.add(loss, int(result.pixels), np.asarray(result.confusion))
        self.losses.append(loss)

    def take_loss(self) -> float:
        """The mean loss of the steps since it was last taken; NaN if there were none."""
        mean = sum(self.losses) / len(self.losses) if self.losses else math.nan
        self.losses = []
        return mean
