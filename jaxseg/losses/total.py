"""A weighted sum of losses."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Array, Bool, Float, Int64, UInt8

from jaxseg.errors import InputError
from jaxseg.losses.cross_entropy import CrossEntropy
from jaxseg.losses.focal import Focal
from jaxseg.losses.lovasz import Lovasz
from jaxseg.losses.overlap import Dice, Tversky

Term = CrossEntropy | Dice | Tversky | Focal | Lovasz


@dataclass(frozen=True)
class Sum:
    """Several losses, each times its weight.

    Attributes:
        terms: the losses.
        weights: one for each; None: all 1.
    """

    terms: tuple[Term, ...] = (CrossEntropy(), Dice())
    weights: tuple[float, ...] | None = None

    def __call__(
        self,
        logits: Float[Array, "batch height width channels"],
        mask: UInt8[Array, "batch height width"],
        valid: Bool[Array, "batch height width"],
    ) -> Float[Array, ""]:
        """The loss of a batch.

        Raises:
            InputError: if there are not as many weights as terms.
        """
        weights = (1.0,) * len(self.terms) if self.weights is None else self.weights
        if len(weights) != len(self.terms) or not self.terms:
            raise InputError(f"loss.weights has {len(weights)} numbers for {len(self.terms)} terms: give one for each.")
        values = [weight * term(logits, mask, valid) for weight, term in zip(weights, self.terms, strict=True)]
        return sum(values[1:], values[0])


Loss = Term | Sum
"""What `Config.loss` may be."""


def with_measured(loss: Loss, pixels: Int64[np.ndarray, " classes"]) -> Loss:
    """The loss with each `pos_weight="auto"` replaced, given the number of pixels of each class."""
    if isinstance(loss, Sum):
        return Sum(tuple(term_with_measured(term, pixels) for term in loss.terms), loss.weights)
    return term_with_measured(loss, pixels)


def term_with_measured(term: Term, pixels: Int64[np.ndarray, " classes"]) -> Term:
    return term.measured(pixels) if isinstance(term, CrossEntropy) else term


def waits_for_data(loss: Loss) -> bool:
    """Whether a `pos_weight` is to be measured first."""
    terms = loss.terms if isinstance(loss, Sum) else (loss,)
    return any(isinstance(term, CrossEntropy) and term.pos_weight == "auto" for term in terms)


def measured_as(loss: Loss, measured: Loss) -> bool:
    """Whether `measured` is `loss` but for each `pos_weight="auto"`, in place of which it has numbers."""

    def same(ours: Term, theirs: Term) -> bool:
        if not (isinstance(ours, CrossEntropy) and isinstance(theirs, CrossEntropy) and ours.pos_weight == "auto"):
            return ours == theirs
        return ours == replace(theirs, pos_weight="auto")

    if isinstance(loss, Sum) and isinstance(measured, Sum):
        pairs = zip(loss.terms, measured.terms, strict=False)
        alike = loss.weights == measured.weights and len(loss.terms) == len(measured.terms)
        return alike and all(same(ours, theirs) for ours, theirs in pairs)
    return not isinstance(loss, Sum) and not isinstance(measured, Sum) and same(loss, measured)
