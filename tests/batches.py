"""Random batches."""

import numpy as np

from jaxseg.arrays import VOID, Batch


def random_batch(
    seed: int = 0,
    batch: int = 2,
    size: tuple[int, int] = (8, 12),
    *,
    channels: int = 3,
    classes: int = 2,
    void: float = 0.1,
) -> Batch:
    """Images of noise, and masks of their red: the redder, the rarer and the higher the class. Some pixels are void."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (batch, *size, channels)).astype(np.uint8)
    mask = ((image[..., 0] / 256) ** 3 * classes).astype(np.uint8)
    mask[rng.random(mask.shape) < void] = VOID
    return Batch(image, mask, np.ones(batch, np.float32))


def join(*batches: Batch) -> Batch:
    """One batch of all their samples."""
    return Batch(*map(np.concatenate, zip(*batches, strict=True)))
