"""The exponential moving average of a network's weights (Polyak and Juditsky 1992)."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32, PyTree

from jaxseg.errors import InputError


class Average(NamedTuple):
    """Of the parameters, and of the running statistics, which belong to them; after so many updates."""

    updates: Int32[Array, ""]
    params: PyTree
    batch_stats: PyTree


def started(params: PyTree, batch_stats: PyTree) -> Average:
    """Before the first update: the weights themselves."""
    params, batch_stats = jax.tree.map(jnp.copy, (params, batch_stats))  # the state is donated, each buffer once
    return Average(jnp.zeros((), jnp.int32), params, batch_stats)


def decay_at(updates: Int32[Array, ""], decay: float) -> Float32[Array, ""]:
    """min(decay, (1 + n) / (10 + n)) after n updates, as TensorFlow's `ExponentialMovingAverage(num_updates=n)`.

    Short at first, so that a short training does not end near its first weights.
    """
    return jnp.minimum(decay, (1 + updates) / (10 + updates)).astype(jnp.float32)


def moved(average: Average, decay: float, params: PyTree, batch_stats: PyTree, made: Bool[Array, ""]) -> Average:
    """average + (1 - decay) (weights - average), in float32; where no update was `made`, as it is."""
    share = jnp.where(made, 1 - decay_at(average.updates, decay), 0)
    params, batch_stats = jax.tree.map(
        partial(towards, share=share), (average.params, average.batch_stats), (params, batch_stats)
    )
    return Average(average.updates + made, params, batch_stats)


def towards(average: Array, weights: Array, share: Float32[Array, ""]) -> Array:
    return average + share * (weights - average)


def check_decay(decay: float | None) -> None:
    """Raise an InputError for a decay that averages nothing, or never moves."""
    if decay is not None and not 0 < decay < 1:
        raise InputError(f"ema is {decay}: give a decay between 0 and 1, such as 0.999, or None for no average.")
