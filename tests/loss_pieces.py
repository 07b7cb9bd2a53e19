"""Random batches for the losses."""

import jax.numpy as jnp
import numpy as np

from jaxseg.arrays import VOID, Batch
from jaxseg.losses import valid_pixels


def random_batch(seed: int, classes: int, *, spread: float = 3.0, size: tuple[int, ...] = (4, 7, 5)):
    """Logits, mask and valid pixels; some void, the last sample padding."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=spread, size=(*size, max(1, classes if classes > 2 else 1))).astype(np.float32)
    mask = rng.integers(0, classes, size).astype(np.uint8)
    mask[rng.random(size) < 0.2] = VOID
    weight = np.ones(size[0], np.float32)
    weight[-1] = 0
    valid = valid_pixels(Batch(np.zeros((*size, 3), np.uint8), jnp.asarray(mask), jnp.asarray(weight)))
    return jnp.asarray(logits), jnp.asarray(mask), valid
