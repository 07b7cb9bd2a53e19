"""A model over the images of a split: truth and probability of each, decoding, computing and scoring overlapped."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from jaxseg.data.geometry import Placement, place, restored
from jaxseg.data.images import decided, read_image
from jaxseg.data.loader import eval_batches
from jaxseg.data.masks import draw_mask
from jaxseg.data.samples import Sample, Samples
from jaxseg.predicting.canvas import Canvas, Tiled
from jaxseg.predicting.inference import Subject, through
from jaxseg.predicting.tiles import Tile, grid
from jaxseg.predictor import Predictor

At = Literal["original", "network"]
Result = TypeVar("Result")
OnFaults = Callable[[dict[int, str]], None]


class View(NamedTuple):
    """One image as it is scored: at its own size, or at the network's, without the frame around it."""

    position: int
    placement: Placement
    truth: UInt8[np.ndarray, "height width"]
    probabilities: Float32[np.ndarray, "height width outputs"]


def scored_placement(samples: Samples, position: int, at: At) -> Placement:
    """Where the truth is drawn: the whole picture at the size at which it is scored."""
    shown = samples.placement(position)
    size = shown.full if at == "original" else shown.inner
    return place(shown.full, size, "stretch")


def view(samples: Samples, position: int, at: At, probabilities: Float32[np.ndarray, "height width outputs"]) -> View:
    """What the network said of its frame, beside the truth."""
    framed, placement = samples.placement(position), scored_placement(samples, position, at)
    annotations = samples.index.annotations(position)
    truth = np.ascontiguousarray(draw_mask(annotations, samples.lookup, samples.data.rules, placement))
    found = restored(probabilities, framed) if at == "original" else probabilities[framed.window]
    return View(position, placement, truth, found)


def view_again(predictor: Predictor, samples: Samples, position: int, at: At) -> View:
    """A single image, read and computed anew."""
    image = samples.image(position)
    frames = predictor.probabilities(image[None]) if samples.data.crop is None else in_tiles(predictor, [image], 1)
    return view(samples, position, at, next(iter(frames)))


def photograph(samples: Samples, position: int, at: At) -> UInt8[np.ndarray, "height width channels"]:
    """The picture that a view is of."""
    placement, decoder = scored_placement(samples, position, at), decided(samples.data.decoder)
    return read_image(samples.path(position), placement=placement, channels=samples.data.channels, decoder=decoder)


def examine(
    predictor: Predictor,
    samples: Samples,
    work: Callable[[View], Result],
    *,
    at: At,
    batch_size: int,
    on_faults: OnFaults,
) -> Generator[Result, None, None]:
    """What `work` says of each image that can be read, in the order of the split.

    `work` runs in threads while the device computes the next batch; at most two batches of images are held. A model
    that was trained on windows sees each image in overlapping tiles, as in predicting.
    """

    def one(position: int, probabilities: Float32[np.ndarray, "height width outputs"]) -> Result:
        return work(view(samples, position, at, probabilities))

    pending: deque[Future[Result]] = deque()
    look = seen if samples.data.crop is None else seen_in_tiles
    with ThreadPoolExecutor(max(1, samples.data.threads), "jaxseg-score") as pool:
        with closing(look(predictor, samples, batch_size, on_faults)) as found:
            for position, probabilities in found:
                while len(pending) > batch_size:
                    yield pending.popleft().result()
                pending.append(pool.submit(one, position, probabilities))
        while pending:
            yield pending.popleft().result()


def seen(
    predictor: Predictor, samples: Samples, batch_size: int, on_faults: OnFaults
) -> Generator[tuple[int, Float32[np.ndarray, "height width outputs"]], None, None]:
    """Each image that can be read, and what the network says of its frame."""
    with eval_batches(samples, batch_size) as batches:
        for number, loaded in enumerate(batches):
            on_faults(loaded.faults)
            probabilities = predictor.probabilities(np.asarray(loaded.batch.image))
            for row in np.flatnonzero(loaded.batch.weight):
                yield int(samples.positions[number * batch_size + row]), probabilities[row]


def seen_in_tiles(
    predictor: Predictor, samples: Samples, batch_size: int, on_faults: OnFaults
) -> Generator[tuple[int, Float32[np.ndarray, "height width outputs"]], None, None]:
    """The same of whole images at their scale, put together from tiles; the next is read meanwhile."""
    waiting: deque[int] = deque()

    def images(pool: ThreadPoolExecutor) -> Iterator[UInt8[np.ndarray, "_ _ _"]]:
        for position, sample in ahead(pool, samples):
            if sample["fault"]:
                on_faults({int(sample["image_id"]): sample["fault"]})
            else:
                waiting.append(position)
                yield sample["image"]

    with ThreadPoolExecutor(1, "jaxseg-read") as pool:
        for probabilities in in_tiles(predictor, images(pool), batch_size):
            yield waiting.popleft(), probabilities


def in_tiles(
    predictor: Predictor, images: Iterable[UInt8[np.ndarray, "_ _ _"]], batch_size: int
) -> Iterator[Float32[np.ndarray, "_ _ outputs"]]:
    """What the network says of images that have the scale of its training, each of its own size."""
    cut = Tile()
    network = predictor.network(tile=cut)

    def subject(image: UInt8[np.ndarray, "height width channels"]) -> Subject:
        height, width, channels = image.shape
        canvas = Canvas((height, width), network.outputs, predictor.threshold, "all")
        picture = Image.fromarray(image if channels > 1 else image[..., 0])
        return Subject(image, Tiled(picture, grid((height, width), network.size, cut), canvas))

    for found in through(network, map(subject, images), batch_size):
        assert found.work is not None, "it was read"
        yield found.work.finish().every


def ahead(pool: ThreadPoolExecutor, samples: Samples) -> Iterator[tuple[int, Sample]]:
    """Every image of the split, the next being read."""
    last: tuple[int, Future[Sample]] | None = None
    for position in map(int, samples.positions):
        this = (position, pool.submit(samples.at, position))
        if last:
            yield last[0], last[1].result()
        last = this
    if last:
        yield last[0], last[1].result()
