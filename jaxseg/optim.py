"""Settings to an optax transformation."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float32, PyTree

from jaxseg.errors import InputError
from jaxseg.schedules import Rate, Schedule


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980); its update is PyTorch's.

    Attributes:
        learning_rate: the highest of the schedule.
        b1: decay of the mean of gradients.
        b2: decay of the mean of their squares.
        eps: added to the root of the latter.
    """

    learning_rate: float = 1e-4
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def build(self, rate: Rate | None = None) -> optax.GradientTransformation:
        """The optax transformation; `rate` in place of the constant learning rate."""
        return optax.adam(rate_of(self, rate), b1=self.b1, b2=self.b2, eps=self.eps)


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), as PyTorch's.

    Attributes:
        learning_rate: the highest of the schedule.
        weight_decay: times the learning rate and the weight; biases and normalisations have none.
        b1: decay of the mean of gradients.
        b2: decay of the mean of their squares.
        eps: added to the root of the latter.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def build(self, rate: Rate | None = None) -> optax.GradientTransformation:
        """The optax transformation; `rate` in place of the constant learning rate."""
        return optax.adamw(
            rate_of(self, rate), b1=self.b1, b2=self.b2, eps=self.eps, weight_decay=self.weight_decay, mask=decayed
        )


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, as PyTorch's.

    Attributes:
        learning_rate: the highest of the schedule.
        momentum: share of the last update's direction that is kept.
        nesterov: look ahead (Sutskever et al. 2013).
        weight_decay: times the weight, added to its gradient; biases and normalisations have none.
    """

    learning_rate: float = 1e-2
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0

    def build(self, rate: Rate | None = None) -> optax.GradientTransformation:
        """The optax transformation; `rate` in place of the constant learning rate."""
        descent = optax.sgd(rate_of(self, rate), momentum=self.momentum, nesterov=self.nesterov)
        if not self.weight_decay:
            return descent
        return optax.chain(optax.add_decayed_weights(self.weight_decay, mask=decayed), descent)


@dataclass(frozen=True)
class Lamb:
    """LAMB, for large batches (You et al. 2020, arXiv:1904.00962).

    Attributes:
        learning_rate: the highest of the schedule.
        weight_decay: as in `AdamW`; biases and normalisations have none.
        b1: decay of the mean of gradients.
        b2: decay of the mean of their squares.
        eps: added to the root of the latter.
    """

    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-6

    def build(self, rate: Rate | None = None) -> optax.GradientTransformation:
        """The optax transformation; `rate` in place of the constant learning rate."""
        return optax.lamb(
            rate_of(self, rate), b1=self.b1, b2=self.b2, eps=self.eps, weight_decay=self.weight_decay, mask=decayed
        )


Optimizer = Adam | AdamW | SGD | Lamb


def rate_of(optimizer: Optimizer, rate: Rate | None) -> Rate:
    return optimizer.learning_rate if rate is None else rate


def decayed(params: PyTree) -> PyTree:
    """True for kernels; biases and normalisations are vectors."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def transformation(
    optimizer: Optimizer, schedule: Schedule, *, clip_norm: float | None, accumulate: int, steps: int, epochs: int
) -> optax.GradientTransformation:
    """The whole update: gradients of `accumulate` steps averaged, clipped, and given to the optimiser.

    Args:
        optimizer: which.
        schedule: its learning rate over time.
        clip_norm: gradients whose global norm is above are scaled down to it (Pascanu et al. 2013, arXiv:1211.5063).
        accumulate: steps to an update.
        steps: in an epoch.
        epochs: in the training.

    Raises:
        InputError: for a norm or a number of steps that is not positive.
    """
    if accumulate < 1:
        raise InputError(f"accumulate is {accumulate}: take at least 1.")
    if clip_norm is not None and not clip_norm > 0:
        raise InputError(f"clip_norm is {clip_norm}: take more than 0, or None.")
    rate = schedule.rate(optimizer.learning_rate, updates_of(accumulate, steps, epochs), epochs)
    return at_rate(optimizer, rate, clip_norm=clip_norm, accumulate=accumulate)


def at_rate(
    optimizer: Optimizer, rate: Rate, *, clip_norm: float | None, accumulate: int
) -> optax.GradientTransformation:
    """The whole update at any learning rate."""
    parts = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    update = optax.chain(*parts, optimizer.build(rate)) if parts else optimizer.build(rate)
    return optax.MultiSteps(update, accumulate).gradient_transformation() if accumulate > 1 else update


def updates_of(accumulate: int, steps: int, epochs: int) -> int:
    """Of a training; at least one."""
    return max(1, steps * epochs // accumulate)


def rates(
    optimizer: Optimizer, schedule: Schedule, *, accumulate: int, steps: int, epochs: int
) -> Float32[np.ndarray, " updates"]:
    """The learning rate of each update, as `transformation` has it, to be logged."""
    updates = updates_of(accumulate, steps, epochs)
    rate = schedule.rate(optimizer.learning_rate, updates, epochs)
    found = jax.jit(jax.vmap(rate))(jnp.arange(updates)) if callable(rate) else rate
    return np.broadcast_to(np.asarray(found, np.float32), (updates,))


def made_update(opt_state: Any) -> Bool[Array, ""]:
    """Whether the step that gave this state of a `transformation` changed the weights, or only kept its gradient."""
    return jnp.asarray(opt_state.mini_step == 0 if isinstance(opt_state, optax.MultiStepsState) else True)
