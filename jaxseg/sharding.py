"""Which devices a run uses, and how its arrays lie on them."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxseg import hosts
from jaxseg.errors import InputError


class Layout(NamedTuple):
    """Data parallelism: the batch split over the mesh, the state copied to each device."""

    mesh: Mesh
    batch: NamedSharding
    state: NamedSharding

    def rows(self, batch_size: int) -> slice:
        """Those of a batch that this process loads."""
        if not self.spans_processes:
            return slice(0, batch_size)
        size = batch_size // hosts.count()
        return slice(hosts.index() * size, (hosts.index() + 1) * size)

    def put(self, rows: Any) -> Any:
        """A batch on the devices, of which each process gives its rows."""
        if not self.spans_processes:
            return jax.device_put(rows, self.batch)
        return jax.tree.map(lambda own: jax.make_array_from_process_local_data(self.batch, own), rows)

    def own_rows(self, array: jax.Array) -> np.ndarray:
        """This process's rows of what lies on the devices as a batch does."""
        if array.is_fully_addressable:
            return np.asarray(array)
        shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start)
        return np.concatenate([shard.data for shard in shards])

    @property
    def on_cpu(self) -> bool:
        """Whether the devices are processors."""
        return self.mesh.devices.flat[0].platform == "cpu"

    @property
    def spans_processes(self) -> bool:
        """Whether there are devices of other processes in it."""
        return self.mesh.is_multi_process


def data_parallel(batch_size: int) -> Layout:
    """A layout over as many local devices as divide `batch_size`."""
    local = jax.local_devices()
    count = most(batch_size, len(local))
    return laid(jax.make_mesh((count,), ("batch",), axis_types=(AxisType.Auto,), devices=local[:count]))


def over_processes(batch_size: int) -> Layout:
    """The same over as many devices of each process as divide its share of the batch.

    Raises:
        InputError: if the processes can't share the batch evenly, or have not as many devices each.
    """
    processes = hosts.count()
    devices = [[d for d in jax.devices() if d.process_index == process] for process in range(processes)]
    if len({len(those) for those in devices}) > 1:
        counts = ", ".join(f"{len(those)} in process {process}" for process, those in enumerate(devices))
        raise InputError(f"the processes have not as many devices each: {counts}. Start each with the same number.")
    if batch_size % processes:
        low = batch_size // processes * processes
        good = " or ".join(str(size) for size in (low, low + processes) if size)
        raise InputError(f"batch_size {batch_size} is not divisible by {processes} processes: use {good}.")
    used = most(batch_size // processes, len(devices[0]))
    ordered = np.array([device for those in devices for device in those[:used]])  # as the rows are: by process
    return laid(Mesh(ordered, ("batch",), axis_types=(AxisType.Auto,)))


def most(batch_size: int, devices: int) -> int:
    return max(n for n in range(1, devices + 1) if batch_size % n == 0)


def laid(mesh: Mesh) -> Layout:
    return Layout(mesh, NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec()))
