"""One training step and one evaluation step, as pure functions of state and batch."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float32, Int32, PyTree, UInt8

from jaxseg.arrays import Batch
from jaxseg.losses import valid_pixels
from jaxseg.metrics import confusion, predict_classes
from jaxseg.models.unet import UNet

Loss = Callable[..., Float32[Array, ""]]

SCALE = 1 / 255
"""What an image's 0..255 is multiplied by before the network sees it."""


class TrainState(NamedTuple):
    """All that training changes."""

    step: Int32[Array, ""]
    params: PyTree
    batch_stats: PyTree
    opt_state: Any


class StepResult(NamedTuple):
    """What a step says of its batch: add `loss * pixels`, `pixels` and `confusion` over batches, divide once."""

    loss: Float32[Array, ""]
    pixels: Int32[Array, ""]
    confusion: Int32[Array, "classes classes"]


def scale(image: UInt8[Array, "batch height width channels"]) -> Float32[Array, "batch height width channels"]:
    """0..255 to 0..1."""
    return image.astype(jnp.float32) * SCALE


def create_state(
    key: Array, model: UNet, optimizer: optax.GradientTransformation, image_shape: tuple[int, int, int]
) -> TrainState:
    """The state before the first step, for images of (height, width, channels)."""
    variables = model.init(key, jnp.zeros((1, *image_shape), jnp.float32))
    params = variables["params"]
    return TrainState(jnp.zeros((), jnp.int32), params, variables.get("batch_stats", {}), optimizer.init(params))


def train_step(
    state: TrainState, batch: Batch, *, model: UNet, optimizer: optax.GradientTransformation, loss: Loss
) -> tuple[TrainState, StepResult]:
    """One update from one batch; the result describes the weights before it.

    A batch without a valid pixel leaves all but the step number as it was: normalisation has no statistics of it.
    """
    valid = valid_pixels(batch)

    def objective(params: PyTree) -> tuple[Array, tuple[Array, PyTree]]:
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, new = model.apply(variables, scale(batch.image), valid, train=True, mutable=["batch_stats"])
        return loss(logits, batch.mask, valid), (logits, new.get("batch_stats", {}))

    (value, (logits, batch_stats)), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    new = TrainState(state.step, optax.apply_updates(state.params, updates), batch_stats, opt_state)
    kept = jax.tree.map(partial(jnp.where, valid.any()), new, state)
    return kept._replace(step=state.step + 1), judge(value, logits, batch, valid)


def eval_step(
    state: TrainState, batch: Batch, *, model: UNet, loss: Loss
) -> tuple[StepResult, UInt8[Array, "batch height width"]]:
    """The loss and counts of one batch, with the running statistics; and the predicted classes."""
    valid = valid_pixels(batch)
    logits = forward(state, batch.image, model=model)
    return judge(loss(logits, batch.mask, valid), logits, batch, valid), predict_classes(logits)


def forward(
    state: TrainState, image: UInt8[Array, "batch height width channels"], *, model: UNet
) -> Float32[Array, "batch height width out_channels"]:
    """Logits of uint8 images."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return model.apply(variables, scale(image))  # pyright: ignore[reportReturnType]  one output without `mutable`


def judge(value: Array, logits: Array, batch: Batch, valid: Bool[Array, "batch height width"]) -> StepResult:
    classes = max(2, logits.shape[-1])
    counts = confusion(batch.mask, predict_classes(logits), valid, classes)
    return StepResult(value, valid.sum(dtype=jnp.int32), counts)
