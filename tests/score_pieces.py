"""Masks and probabilities for the tests of scores."""

import numpy as np
from scipy import ndimage

from jaxseg.arrays import VOID


def blobs(seed: int, classes: int = 2, size: tuple[int, int] = (60, 83), void: float = 0.0) -> np.ndarray:
    """A mask of smooth regions, some of which leave the frame; a share of it is void, in regions too."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(classes, *size)), (0, 4, 4)).argmax(0)
    mask = np.where(ndimage.gaussian_filter(rng.normal(size=size), 3) > 0, field, 0).astype(np.uint8)
    hidden = ndimage.gaussian_filter(rng.normal(size=size), 2)
    mask[hidden < np.quantile(hidden, void)] = VOID
    return mask


def noisy(mask: np.ndarray, seed: int, sharpness: float = 2.0) -> np.ndarray:
    """Probabilities of foreground that know something of the mask, from almost 0 to almost 1."""
    rng = np.random.default_rng(seed)
    logit = sharpness * (np.where(mask == VOID, 0, mask > 0) - 0.5) + rng.normal(scale=1.5, size=mask.shape)
    return (1 / (1 + np.exp(-logit))).astype(np.float32)
