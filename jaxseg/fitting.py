"""What would fit into a device's memory, each way tried on the compiler."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax

from jaxseg.config import Config
from jaxseg.footprint import Footprint, estimated
from jaxseg.sharding import Layout

GUESSES = 6  # before the search halves what is left
MOST_IMAGES = 4096


class Way(NamedTuple):
    """Flags as one types them, the settings they make, and the bytes that a step then needs."""

    flags: str
    config: Config
    needed: int


class Kind(NamedTuple):
    """One kind of change: `changed(n)` is milder the larger n is, from 1 to `most`; its memory grows with `work(n)`."""

    most: int
    changed: Callable[[int], tuple[str, Config]]
    work: Callable[[int], float] = float
    smaller_state: bool = False


def ways_to_fit(config: Config, layout: Layout, usable: int, found: Footprint) -> Iterator[Way]:
    """Of each kind the mildest change with which a step needs at most `usable` bytes; `found` is what it needs now."""
    for make in KINDS:
        if kind := make(config, layout):
            points = {0: 0 if kind.smaller_state else found.state, kind.most + 1: found.needed}
            if way := mildest(kind, layout, usable, points):
                yield way


def largest_batch(config: Config, layout: Layout, usable: int, found: Footprint, images: int) -> int:
    """The most images, of at most so many, that a step could take; 0 if not one."""
    devices = layout.mesh.size
    kind = Kind(min(images, MOST_IMAGES) // devices, of_batches(config, devices))
    way = mildest(kind, layout, usable, {0: found.state, config.batch_size // devices: found.needed})
    return way.config.batch_size if way else 0


def mildest(kind: Kind, layout: Layout, usable: int, points: dict[int, int]) -> Way | None:
    """The largest n that fits, by guesses along a line through what is known: bytes by n in `points`."""
    points = dict(points)
    for tries in itertools.count():
        low = max((n for n, needed in points.items() if needed <= usable), default=None)
        if low is None:
            return None  # not even the state
        high = min((n for n in points if n > low), default=kind.most + 1)
        if low == kind.most or high - low <= 1:
            return Way(*kind.changed(low), points[low]) if low else None
        n = (low + high) // 2 if tries >= GUESSES else guessed(kind, usable, points, low)
        n = min(max(n, low + 1), high - 1)
        points[n] = needed(kind.changed(n)[1], layout)


def guessed(kind: Kind, usable: int, points: dict[int, int], low: int) -> int:
    """Where the line through the two nearest known points meets what is usable."""
    first, second = sorted(points, key=lambda n: (abs(points[n] - usable), n))[:2]
    rise = (points[second] - points[first]) / (kind.work(second) - kind.work(first))
    work = kind.work(first) + (usable - points[first]) / rise if rise > 0 else 0
    return max((n for n in range(low + 1, kind.most + 1) if kind.work(n) <= work), default=low + 1)


def needed(config: Config, layout: Layout) -> int:
    """More than anything there is, where the compiler itself finds no room."""
    try:
        return estimated(config, layout).needed
    except (MemoryError, jax.errors.JaxRuntimeError):
        return 2**62


def of_batches(config: Config, devices: int) -> Callable[[int], tuple[str, Config]]:
    return lambda n: (f"--batch-size {n * devices}", dataclasses.replace(config, batch_size=n * devices))


def fewer_images(config: Config, layout: Layout) -> Kind:
    """Smaller batches, which the same devices divide."""
    devices = layout.mesh.size
    return Kind(config.batch_size // devices - 1, of_batches(config, devices))


def accumulated(config: Config, layout: Layout) -> Kind | None:
    """Smaller batches too, of which several make one update of as many images as before."""
    devices = layout.mesh.size
    whole = config.batch_size // devices
    sizes = [n for n in range(1, whole) if whole % n == 0]

    def changed(n: int) -> tuple[str, Config]:
        size, parts = sizes[n - 1] * devices, whole // sizes[n - 1] * config.accumulate
        flags = f"--accumulate {parts} --batch-size {size}"
        return flags, dataclasses.replace(config, batch_size=size, accumulate=parts)

    return Kind(len(sizes), changed, lambda n: [0, *sizes, whole][n]) if sizes else None


def rematerialised(config: Config, layout: Layout) -> Kind | None:
    """Computing blocks again on the way back."""
    if config.model.remat:
        return None
    return Kind(1, lambda _: ("--model.remat", dataclasses.replace(config, model=config.model.clone(remat=True))))


def half_precision(config: Config, layout: Layout) -> Kind | None:
    """Computing in bfloat16."""
    if config.model.dtype != "float32":
        return None
    changed = dataclasses.replace(config, model=config.model.clone(dtype="bfloat16"))
    return Kind(1, lambda _: ("--model.dtype bfloat16", changed))


def smaller_images(config: Config, layout: Layout) -> Kind:
    """Smaller images of about the same shape, in multiples of the stride."""
    data, stride = config.data, config.model.stride
    short, long = sorted((data.height, data.width))

    def changed(n: int) -> tuple[str, Config]:
        other = max(1, round(n * long / short)) * stride
        height, width = (n * stride, other) if data.height <= data.width else (other, n * stride)
        smaller = dataclasses.replace(config, data=dataclasses.replace(data, height=height, width=width))
        return f"--data.height {height} --data.width {width}", smaller

    return Kind(-(-short // stride) - 1, changed, lambda n: n * n)


def narrower(config: Config, layout: Layout) -> Kind:
    """A network of half the widths, a quarter, an eighth."""
    model = config.model

    def changed(n: int) -> tuple[str, Config]:
        widths = tuple(width >> (most + 1 - n) for width in model.widths)
        return f"--model.widths {' '.join(map(str, widths))}", dataclasses.replace(
            config, model=model.clone(widths=widths)
        )

    whole = [width // model.groups if model.norm == "group" else width for width in model.widths]
    most = min(3, *(((width & -width).bit_length() - 1) for width in whole))
    return Kind(most, changed, lambda n: 2.0**n, smaller_state=True)


KINDS: tuple[Callable[[Config, Layout], Kind | None], ...] = (
    fewer_images,
    accumulated,
    rematerialised,
    half_precision,
    smaller_images,
    narrower,
)
"""In the order in which they are told."""
