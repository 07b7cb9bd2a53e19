"""What the compiled steps need of a device, by their own analysis, and what the device has."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxseg.arrays import Batch
from jaxseg.config import Config
from jaxseg.data.room import memory_left
from jaxseg.loop import abstract_state, compile_steps
from jaxseg.sharding import Layout

CPU_USABLE, USABLE = 1 / 1.2, 0.95
"""Of the memory: convolutions on a CPU take 1.17 to 1.19 times what the analysis knows of (measured); other devices
lose a little between the blocks (not measured)."""


class Footprint(NamedTuple):
    """Of one compiled step on one device, in bytes.

    Attributes:
        state: parameters, statistics and the optimiser's; part of the arguments.
        batch: part of the arguments.
        arguments: what it is given.
        outputs: what it gives back.
        aliased: outputs that take the place of arguments.
        temporaries: what lies between.
        peak: the most at one time, where the compiler says so; on a CPU it leaves out the temporaries.
        flops: of a step, over all devices.
        traffic: bytes read and written in a step, over all devices.
    """

    state: int
    batch: int
    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    peak: int
    flops: float
    traffic: float

    @property
    def needed(self) -> int:
        """All that must lie there at once."""
        return max(self.peak, self.arguments + self.outputs - self.aliased + self.temporaries)


class Room(NamedTuple):
    """Memory of a device in bytes, and what to call it."""

    size: int
    name: str
    platform: str

    @property
    def usable(self) -> int:
        """What an analysis may come to."""
        return int(self.size * (CPU_USABLE if self.platform == "cpu" else USABLE))


def room_of(layout: Layout) -> Room:
    """What one of the devices has for this program; on a CPU, what the machine or its container has left."""
    device = layout.mesh.local_devices[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is None:
        return Room(memory_left() // len(layout.mesh.local_devices), "this machine has left", "cpu")
    return Room(limit, f"JAX has on a device ({device.device_kind})", device.platform)


def lowered(config: Config, layout: Layout) -> tuple[jax.stages.Lowered, jax.stages.Lowered]:
    """The training and the evaluation step for the real shapes; nothing is allocated."""
    compiled, data = compile_steps(config, layout), config.data

    def array(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((config.batch_size, *shape), dtype, sharding=layout.batch)

    size = (data.height, data.width)
    batch = Batch(array((*size, data.channels), jnp.uint8), array(size, jnp.uint8), array((), jnp.float32))
    state, steps = abstract_state(compiled), (compiled.train, compiled.evaluate)
    train, evaluate = (step.lower(state, batch) for step in steps)  # pyright: ignore[reportFunctionMemberAccess]
    return train, evaluate


def footprint(lowered: jax.stages.Lowered, compiled: jax.stages.Compiled, layout: Layout) -> Footprint:
    """Of a step as `lowered` here and then compiled."""
    state, batch = (
        sum(leaf.dtype.itemsize * leaf.size for leaf in jax.tree.leaves(tree)) for tree in lowered.in_avals[0]
    )
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    assert memory is not None, "CPU, CUDA and TPU analyse what they compile"
    return Footprint(
        state,
        batch // layout.mesh.size,
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.alias_size_in_bytes,
        memory.temp_size_in_bytes,
        memory.peak_memory_in_bytes,
        flops=layout.mesh.size * float(cost.get("flops", 0)),
        traffic=layout.mesh.size * float(cost.get("bytes accessed", 0)),
    )


def estimated(config: Config, layout: Layout) -> Footprint:
    """Of a training step that shall not run: on a CPU its code is not optimised, which changes no size."""
    train, _ = lowered(config, layout)
    cheap: dict[str, str | bool] | None = {"xla_backend_optimization_level": "0"} if layout.on_cpu else None
    return footprint(train, train.compile(cheap), layout)
