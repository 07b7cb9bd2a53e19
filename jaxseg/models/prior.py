"""The bias with which an untrained network gives each class its share of the pixels."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int64

from jaxseg.errors import InputError

LEAST = 1e-6
"""The share of a class that is nowhere, whose logit would be minus infinity."""


def shares_of(pixels: Int64[np.ndarray, " classes"]) -> tuple[float, ...]:
    """What of all pixels each class has, the background first; at least `LEAST`."""
    return tuple(float(f"{max(count / max(1, pixels.sum()), LEAST):.4g}") for count in pixels)


def prior_bias(shares: tuple[float, ...], out_channels: int) -> jax.nn.initializers.Initializer:
    """log(p / (1 - p)) for one logit, log p for each of several (Lin et al. 2017, arXiv:1708.02002, 4.1).

    Raises:
        InputError: if there is not a positive share for each class.
    """
    if len(shares) != max(2, out_channels) or not all(0 < share < math.inf for share in shares):
        raise InputError(
            f"model.prior is {' '.join(map(str, shares))}: give a share above 0 for each of {max(2, out_channels)} "
            "classes, the background first, or auto."
        )
    logits = [math.log(share) for share in shares]
    bias = np.array([logits[1] - logits[0]] if out_channels == 1 else logits, np.float32)

    def start(key: Array, shape: Any, dtype: Any = None, out_sharding: Any = None) -> Array:
        return jnp.broadcast_to(bias, shape).astype(dtype or jnp.float32)

    return start
