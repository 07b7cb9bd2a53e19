"""One training step and one evaluation step, as pure functions of state and batch."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float32, Int32, PyTree, UInt8

from jaxseg.arrays import Batch
from jaxseg.augment import NOTHING, Augment
from jaxseg.ema import Average, moved, started
from jaxseg.guard import STOP, Guard, Health, Verdict, examine, healthy
from jaxseg.losses import valid_pixels
from jaxseg.metrics import confusion, predict_classes
from jaxseg.models.unet import UNet
from jaxseg.optim import made_update
from jaxseg.supervision import Loss, supervised

DROPOUT = 0x64726F70
"""Folded into a step's key, which images are changed by: no place in a batch is as high."""

SCALE = 1 / 255
"""What an image's 0..255 is multiplied by before the network sees it."""


class TrainState(NamedTuple):
    """All that training changes; `average`: of the weights, where one is kept."""

    step: Int32[Array, ""]
    params: PyTree
    batch_stats: PyTree
    opt_state: Any
    health: Health
    average: Average | None = None

    @property
    def weights(self) -> dict[str, PyTree]:
        """What the network is evaluated, used and exported with: the averages, where they are kept."""
        source = self.average or self
        return {"params": source.params, "batch_stats": source.batch_stats}

    @property
    def parts(self) -> dict[str, PyTree]:
        """By name, as they are saved: without an average that is not kept."""
        return {name: part for name, part in self._asdict().items() if part is not None}


class StepResult(NamedTuple):
    """What a step says of its batch: add `loss * pixels`, `pixels` and `confusion` over batches, divide once.

    A training step tells the norm of its gradient as well, and a `Verdict` on it; an evaluation has neither.
    """

    loss: Float32[Array, ""]
    pixels: Int32[Array, ""]
    confusion: Int32[Array, "classes classes"]
    norm: Any = None
    verdict: Any = None


def scale(image: UInt8[Array, "batch height width channels"]) -> Float32[Array, "batch height width channels"]:
    """0..255 to 0..1."""
    return image.astype(jnp.float32) * SCALE


def create_state(
    key: Array,
    model: UNet,
    optimizer: optax.GradientTransformation,
    image_shape: tuple[int, int, int],
    ema: float | None = None,
) -> TrainState:
    """The state before the first step, for images of (height, width, channels); with `ema`, an average in it."""
    variables = model.init(key, jnp.zeros((1, *image_shape), jnp.float32))
    params = variables["params"]
    start, batch_stats = jnp.zeros((), jnp.int32), variables.get("batch_stats", {})
    average = None if ema is None else started(params, batch_stats)
    return TrainState(start, params, batch_stats, optimizer.init(params), healthy(), average)


def train_step(
    state: TrainState,
    batch: Batch,
    *,
    model: UNet,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    guard: Guard = STOP,
    augment: Augment = NOTHING,
    seed: int = 0,
    ema: float | None = None,
) -> tuple[TrainState, StepResult]:
    """One update from one batch; the result describes the weights before it. `seed` is of augmentation and dropout.

    `ema`: the decay of the state's average, which moves with each update: not where gradients are only summed.

    A batch without a valid pixel leaves all but the step number as it was: normalisation has no statistics of it.
    So does a loss or a gradient that is not sound, where the guard skips. Where it stops, nothing changes but its flag,
    from then on: the state is that before the bad step, however many steps were started after it.
    """
    batch = prepared(batch, state.step, augment, seed)
    valid = valid_pixels(batch)
    (value, (logits, given)), gradients = differentiate(state, batch, valid, model=model, loss=loss, seed=seed)
    batch_stats, norm = given.get("batch_stats", {}), optax.global_norm(gradients)
    verdict, health = examine(guard, state.health, state.step, loss=value, norm=norm, statistics=batch_stats)
    counted = valid.any()
    verdict = jnp.where(counted, verdict, Verdict.SOUND)
    health = jax.tree.map(partial(jnp.where, counted), health, state.health)

    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params, average = optax.apply_updates(state.params, updates), state.average
    if ema is not None and average is not None:
        average = moved(average, ema, params, batch_stats, made_update(opt_state))
    new = TrainState(state.step, params, batch_stats, opt_state, health, average)
    used = counted & (verdict == Verdict.SOUND) & ~health.stopped
    kept = jax.tree.map(partial(jnp.where, used), new, state)
    step = jnp.where(health.stopped, state.step, state.step + 1)
    result = judge(value, logits, batch, valid)._replace(norm=norm, verdict=verdict)
    return kept._replace(step=step, health=health), result


def prepared(batch: Batch, step: Int32[Array, ""], augment: Augment, seed: int) -> Batch:
    """The batch as the network is trained on it: images in 0..1, changed at random by (seed, step, place)."""
    image, mask = scale(batch.image), batch.mask
    if augment.changes:
        image, mask = augment(step_key(seed, step), image, mask)
    return batch._replace(image=image, mask=mask)


def step_key(seed: int, step: Int32[Array, ""]) -> Array:
    """Of all that is random in a step."""
    return jax.random.fold_in(jax.random.key(seed), step)


def differentiate(
    state: TrainState,
    batch: Batch,
    valid: Bool[Array, "batch height width"],
    *,
    model: UNet,
    loss: Loss,
    seed: int = 0,
    capture: bool = False,
) -> tuple[tuple[Float32[Array, ""], tuple[Array, Any]], PyTree]:
    """((loss, (logits, what else the network gave)), gradient) of a prepared batch; `capture`: also all "layers".

    `seed`: of dropout, with the step's number.
    """
    dropout = jax.random.fold_in(step_key(seed, state.step), DROPOUT)
    mutable = ["batch_stats", "supervised", *(["intermediates"] if capture else [])]

    def objective(params: PyTree) -> tuple[Array, tuple[Array, Any]]:
        given: Any
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, given = model.apply(
            variables,
            batch.image,
            valid,
            train=True,
            mutable=mutable,
            capture_intermediates=capture,
            rngs={"dropout": dropout},
        )
        if capture:
            given = {**given, "layers": in_order(given["intermediates"])}
        coarser = given.get("supervised", {}).get("logits", ())[::-1]
        return supervised(loss, (logits, *coarser), batch.mask, valid), (logits, given)

    return jax.value_and_grad(objective, has_aux=True)(state.params)


def in_order(captured: Mapping[str, Any], path: str = "") -> list[dict[str, Array]]:
    """The layers' outputs in the order of the calls, which is flax's; each by itself, since JAX sorts dictionaries."""
    found: list[dict[str, Array]] = []
    for name, child in captured.items():
        if name != "__call__":
            found += in_order(child, f"{path}/{name}" if path else name)
        elif path:  # the network's own are the logits
            found.append({path: child[0]})
    return found


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
    return model.apply(state.weights, scale(image))  # pyright: ignore[reportReturnType]  one output without `mutable`


def judge(value: Array, logits: Array, batch: Batch, valid: Bool[Array, "batch height width"]) -> StepResult:
    classes = max(2, logits.shape[-1])
    counts = confusion(batch.mask, predict_classes(logits), valid, classes)
    return StepResult(value, valid.sum(dtype=jnp.int32), counts)
