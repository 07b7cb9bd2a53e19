"""Dropout of whole channels (Tompson et al. 2015, arXiv:1411.4280), PyTorch's `Dropout2d`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def drop_channels(
    key: Array, x: Float[Array, "batch height width channels"], rate: float
) -> Float[Array, "batch height width channels"]:
    """Each channel of each image is 0 with probability `rate`; the others are scaled so that the mean stays.

    What an image loses depends on `key` and its place in the batch alone.
    """
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(x)))
    kept = jax.vmap(lambda own: jax.random.bernoulli(own, 1 - rate, (x.shape[-1],)))(keys)
    return jnp.where(kept[:, None, None], x / (1 - rate), 0)
