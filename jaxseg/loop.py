"""The compiled steps, and an evaluation by them."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import UInt8
from tqdm import tqdm

from jaxseg.config import Config
from jaxseg.data.loader import Loaded
from jaxseg.metrics import Totals
from jaxseg.sharding import Layout
from jaxseg.step import StepResult, TrainState, create_state, eval_step, train_step

LESS_OPTIMISED: dict[str, str | bool] = {"xla_backend_optimization_level": "1"}
"""What runs once compiles in half the time, and gives the same bits; at level 0 it would not."""


class Compiled(NamedTuple):
    """The pure steps with their settings bound, jitted and laid out on the devices; the state is donated."""

    layout: Layout
    create: Callable[..., TrainState]
    train: Callable[..., tuple[TrainState, StepResult]]
    evaluate: Callable[..., tuple[StepResult, jax.Array]]
    classes: int


class Clock(NamedTuple):
    """Seconds of an epoch, those of them spent waiting for data, and the images that were seen."""

    seconds: float
    waiting: float
    images: int

    @property
    def waiting_share(self) -> float:
        """Of the epoch's time; what a faster loader could save."""
        return self.waiting / self.seconds if self.seconds else 0.0

    @property
    def images_per_second(self) -> float:
        """Seen by training."""
        return self.images / self.seconds if self.seconds else 0.0


class Shown(NamedTuple):
    """An image to look at."""

    image: UInt8[np.ndarray, "height width channels"]
    truth: UInt8[np.ndarray, "height width"]
    prediction: UInt8[np.ndarray, "height width"]


def compile_steps(
    config: Config, layout: Layout, steps: int = 1, optimizer: optax.GradientTransformation | None = None
) -> Compiled:
    """Bind the settings, for epochs of so many steps, or with another `optimizer`; the first call of each compiles."""
    optimizer = optimizer or config.transformation(steps)
    shape = (config.data.height, config.data.width, config.data.channels)
    bound: dict[str, Any] = {"model": config.model, "loss": config.loss}
    laid: dict[str, Any] = {"in_shardings": (layout.state, layout.batch)}
    return Compiled(
        layout,
        jax.jit(
            partial(create_state, model=config.model, optimizer=optimizer, image_shape=shape, ema=config.ema),
            out_shardings=layout.state,
            compiler_options=LESS_OPTIMISED if layout.on_cpu else None,
        ),
        jax.jit(
            partial(
                train_step,
                optimizer=optimizer,
                guard=config.guard,
                augment=config.augment,
                seed=config.seed,
                ema=config.ema,
                **bound,
            ),
            donate_argnums=0,
            out_shardings=layout.state,
            **laid,
        ),
        jax.jit(partial(eval_step, **bound), out_shardings=(layout.state, layout.batch), **laid),
        max(2, config.model.out_channels or 0),
    )


def abstract_state(compiled: Compiled) -> TrainState:
    """Shapes, types and shardings of the state."""
    shapes = jax.eval_shape(compiled.create, jax.random.key(0))
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=compiled.layout.state), shapes)


def evaluate_all(
    state: TrainState,
    batches: Iterator[Loaded],
    compiled: Compiled,
    *,
    bar: tqdm,
    keep: int = 0,
) -> tuple[Totals, list[Shown]]:
    """The totals over all batches, and the first `keep` of this process's images with what was predicted."""
    totals, shown = Totals.empty(compiled.classes), []
    for loaded in batches:
        result, prediction = compiled.evaluate(state, compiled.layout.put(loaded.batch))
        result = jax.device_get(result)
        totals = totals.add(float(result.loss), int(result.pixels), result.confusion)
        places = np.flatnonzero(loaded.batch.weight)[: keep - len(shown)]
        if len(places):
            arrays = (loaded.batch.image, loaded.batch.mask, compiled.layout.own_rows(prediction))
            shown += map(Shown, *(array[places] for array in arrays))
        bar.update()
    return totals, shown
