"""Pictures through a network, in batches of one shape, while others are read and written."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from jaxseg.data.geometry import Resize
from jaxseg.errors import InputError
from jaxseg.predicting.canvas import Canvas, Keep, Tiled, Whole
from jaxseg.predicting.photograph import Orientation, Source, decoded, in_frame, size_of
from jaxseg.predicting.tiles import Tile, grid

LARGE = 2**24
"""Pixels above which a picture is decoded only when its turn has come, so that no two such are held at once."""


class Network(NamedTuple):
    """What a picture must be brought to, and what then computes.

    `dispatch` starts on uint8 [batch, height, width, channels] and gives what `np.asarray` waits for.
    """

    dispatch: Callable[[UInt8[np.ndarray, "batch height width channels"]], Any]
    size: tuple[int, int]
    stride: int
    channels: int
    outputs: int
    resize: Resize


@dataclass(frozen=True)
class Setting:
    """How pictures are predicted.

    Attributes:
        threshold: of the foreground's probability.
        tile: cut into tiles; None: the whole picture at the network's size.
        orientation: as it is shown, or stored.
        keep: what of the probabilities.
    """

    threshold: float = 0.5
    tile: Tile | None = None
    orientation: Orientation = "shown"
    keep: Keep = "all"


@dataclass(eq=False)
class Subject:
    """A picture on its way; `fault` says why it can't be read."""

    source: Source
    work: Whole | Tiled | None = None
    fault: str | None = None

    @property
    def done(self) -> bool:
        """Whether the network has seen all of it."""
        return self.work is None or self.work.seen == self.work.count


def prepare(source: Source, network: Network, setting: Setting) -> Subject:
    """Read a picture; what is wrong with it becomes its fault."""
    try:
        return Subject(source, work_of(source, network, setting))
    except InputError as error:
        return Subject(source, fault=str(error))
    except MemoryError:
        return Subject(source, fault=f"{source}: there is not enough memory for it.")


def work_of(source: Source, network: Network, setting: Setting) -> Whole | Tiled:
    orientation, channels = setting.orientation, network.channels
    if setting.tile is None:
        frame, placement = in_frame(
            source, network.size, channels=channels, resize=network.resize, orientation=orientation
        )
        return Whole(frame, placement, Canvas(placement.full, network.outputs, setting.threshold, setting.keep))
    image = decoded(source, channels=channels, orientation=orientation)
    full = (image.height, image.width)
    cut = grid(full, network.size, setting.tile)
    return Tiled(image, cut, Canvas(full, network.outputs, setting.threshold, setting.keep))


def prepared(
    sources: Iterable[Source], network: Network, setting: Setting, pool: Executor, ahead: int
) -> Iterator[Subject]:
    """Each picture in turn, while as many as `ahead` of the next are read in the pool; large ones are not."""
    waiting: deque[Future[Subject] | Source] = deque()
    for source in sources:
        waiting.append(source if is_large(source) else pool.submit(prepare, source, network, setting))
        while len(waiting) > ahead or (waiting and not isinstance(waiting[0], Future)):
            yield ready(waiting.popleft(), network, setting)
    while waiting:
        yield ready(waiting.popleft(), network, setting)


def ready(item: "Future[Subject] | Source", network: Network, setting: Setting) -> Subject:
    return item.result() if isinstance(item, Future) else prepare(item, network, setting)


def is_large(source: Source) -> bool:
    try:
        height, width = size_of(source, "stored")
    except (InputError, MemoryError):
        return False
    return height * width > LARGE


def through(
    network: Network, subjects: Iterable[Subject], batch_size: int, watch: Callable[[Subject], object] = id
) -> Iterator[Subject]:
    """The subjects, once the network has seen all of each; in their order, but for those that can't be read.

    The frames of several pictures share a batch, and the last batch is filled up with black, so that every batch has
    one shape. A batch is fetched after the next is dispatched. `watch` hears of each picture that went on.
    """
    pending: tuple[list[Subject], Any] = ([], None)
    frames: list[np.ndarray] = []
    owners: list[Subject] = []
    for subject in subjects:
        if subject.work is None:
            yield subject
            continue
        for frame in subject.work.frames():
            frames.append(frame)
            owners.append(subject)
            if len(frames) == batch_size:
                dispatched = (owners, network.dispatch(batch_of(frames, batch_size, network.stride)))
                frames, owners = [], []
                yield from settle(pending, watch)
                pending = dispatched
    last = (owners, network.dispatch(batch_of(frames, batch_size, network.stride))) if frames else ([], None)
    for batch in (pending, last):
        yield from settle(batch, watch)


def batch_of(
    frames: Sequence[UInt8[np.ndarray, "height width channels"]], batch_size: int, stride: int
) -> UInt8[np.ndarray, "batch padded_height padded_width channels"]:
    """Filled up to the batch size, and to sides that are multiples of the stride, with black."""
    height, width, channels = frames[0].shape
    padded = (-(-height // stride) * stride, -(-width // stride) * stride)
    batch = np.zeros((batch_size, *padded, channels), np.uint8)
    for place, frame in enumerate(frames):
        batch[place, :height, :width] = frame
    return batch


def settle(pending: tuple[list[Subject], Any], watch: Callable[[Subject], object]) -> Iterator[Subject]:
    owners, dispatched = pending
    if not owners:
        return
    probabilities: Float32[np.ndarray, "batch height width outputs"] = np.asarray(dispatched)
    for subject, found in zip(owners, probabilities, strict=False):
        assert subject.work is not None, "it had frames"
        subject.work.put(found)
        watch(subject)
        if subject.done:
            yield subject
