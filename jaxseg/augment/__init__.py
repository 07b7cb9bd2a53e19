"""Random changes of image and mask together, on the device; a pure function of (seed, step, place in the batch)."""

from jaxseg.augment.settings import NOTHING, Augment

__all__ = ["NOTHING", "Augment"]
