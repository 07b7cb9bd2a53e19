"""A training step taken apart: where its numbers stop being finite, layer by layer forward and backward."""

import math
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from jaxseg.arrays import Batch
from jaxseg.augment import NOTHING, Augment
from jaxseg.guard import Verdict
from jaxseg.losses import valid_pixels
from jaxseg.models.unet import UNet
from jaxseg.step import Loss, TrainState, differentiate, prepared

OUTPUT = "logits"
FLOAT32_MAX = float(np.finfo(np.float32).max)
Kind = Literal["state", "forward", "statistics", "loss", "backward", "spike", "unseen"]


class Numbers(NamedTuple):
    """Of an array: the share that is not finite; of the rest the least, the greatest and the mean size (NaN: no rest).

    The norm is of all of it: not finite where a number, or the sum of the squares, is not.
    """

    bad: Any
    low: Any
    high: Any
    size: Any
    norm: Any


class Anatomy(NamedTuple):
    """A step's arrays, each part in the order in which it is computed.

    `state`: what it started from. `forward`: what each layer gives. `statistics`: the running ones after it.
    `loss`: that alone. `backward`: the loss's gradient by the logits, then by each parameter, from the last layer on.
    """

    state: dict[str, Numbers]
    forward: dict[str, Numbers]
    statistics: dict[str, Numbers]
    loss: dict[str, Numbers]
    backward: dict[str, Numbers]


class Cause(NamedTuple):
    """Where a step went wrong first; `name` is the array's."""

    kind: Kind
    name: str


def take_apart(
    state: TrainState, batch: Batch, *, model: UNet, loss: Loss, augment: Augment = NOTHING, seed: int = 0
) -> list[list[dict[str, Numbers]]]:
    """The parts of an `Anatomy`, to be jitted; each name by itself, since JAX would sort the names of a dictionary."""
    batch = prepared(batch, state.step, augment, seed)
    valid = valid_pixels(batch)
    (value, (logits, given)), gradients = differentiate(
        state, batch, valid, model=model, loss=loss, seed=seed, capture=True
    )
    outputs = [item for layer in given["layers"] for item in layer.items()]
    order = {name: place for place, (name, _) in enumerate(outputs)}
    last_first = sorted(named(gradients), key=lambda item: -order.get(item[0].rpartition("/")[0], -1))
    by_logits = jax.grad(lambda logits: loss(logits, batch.mask, valid))(logits)
    before = {part: getattr(state, part) for part in ("params", "batch_stats", "opt_state")}
    parts = (
        named(before),
        [*outputs, (OUTPUT, logits)],
        named(given.get("batch_stats", {})),
        [("loss", value)],
        [(OUTPUT, by_logits), *last_first],
    )
    return [[{name: numbers(array)} for name, array in part] for part in parts]


def assemble(parts: list[list[dict[str, Numbers]]]) -> Anatomy:
    """What `take_apart` gave, on the host."""
    fetched = jax.device_get(parts)
    return Anatomy(
        *({name: Numbers(*map(float, n)) for entry in part for name, n in entry.items()} for part in fetched)
    )


def named(tree: PyTree) -> list[tuple[str, Array]]:
    """The leaves, with their paths; of numbers that are not whole."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    paths = [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
    return [(path, leaf) for path, leaf in paths if jnp.issubdtype(leaf.dtype, jnp.floating)]


def numbers(array: Array) -> Numbers:
    wide = array.astype(jnp.float32)
    finite = jnp.isfinite(wide)
    size = jnp.where(finite, jnp.abs(wide), 0)
    greatest = jnp.maximum(size.max(), jnp.finfo(jnp.float32).tiny)
    return Numbers(
        (~finite).mean(),
        jnp.where(finite.any(), jnp.where(finite, wide, np.inf).min(), np.nan),
        jnp.where(finite.any(), jnp.where(finite, wide, -np.inf).max(), np.nan),
        greatest * ((size / greatest).sum() / finite.sum()),  # a plain sum may overflow
        optax.global_norm(wide),
    )


def first_fault(anatomy: Anatomy, verdict: int) -> Cause:
    """The first array that is not finite, in the order of computation.

    Of a spike it is the parameter with the largest gradient; so too where each gradient is finite, but not the square
    of them all.
    """
    by_parameter = {name: found.norm for name, found in anatomy.backward.items() if name != OUTPUT}
    largest = max(by_parameter, key=lambda name: by_parameter[name])
    if verdict == Verdict.SPIKE:
        return Cause("spike", largest)
    for kind, part in anatomy._asdict().items():
        for name, found in part.items():
            if found.bad or (kind == "backward" and not math.isfinite(found.norm)):
                return Cause(cast(Kind, kind), name)
    whole = sum(norm**2 for norm in by_parameter.values())
    return Cause("backward", largest) if whole > FLOAT32_MAX else Cause("unseen", "")
