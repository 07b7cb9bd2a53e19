"""Which devices a run uses, and how its arrays lie on them."""

from typing import NamedTuple

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


class Layout(NamedTuple):
    """Data parallelism: the batch split over the mesh, the state copied to each device."""

    mesh: Mesh
    batch: NamedSharding
    state: NamedSharding


def data_parallel(batch_size: int) -> Layout:
    """A layout over as many local devices as divide `batch_size`."""
    local = jax.local_devices()
    count = max(n for n in range(1, len(local) + 1) if batch_size % n == 0)
    mesh = jax.make_mesh((count,), ("batch",), axis_types=(AxisType.Auto,), devices=local[:count])
    return Layout(mesh, NamedSharding(mesh, PartitionSpec("batch")), NamedSharding(mesh, PartitionSpec()))
