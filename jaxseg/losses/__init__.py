"""Losses on logits, over the valid pixels of a batch."""

from jaxseg.losses.cross_entropy import CrossEntropy
from jaxseg.losses.focal import Focal
from jaxseg.losses.lovasz import Lovasz
from jaxseg.losses.overlap import Dice, Tversky
from jaxseg.losses.pixels import masked_mean, valid_pixels
from jaxseg.losses.total import Loss, Sum, measured_as, waits_for_data, with_measured

__all__ = [
    "CrossEntropy",
    "Dice",
    "Focal",
    "Loss",
    "Lovasz",
    "Sum",
    "Tversky",
    "masked_mean",
    "measured_as",
    "valid_pixels",
    "waits_for_data",
    "with_measured",
]
