"""A model over the images of a split: truth and probability of each, decoding, computing and scoring overlapped."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32, UInt8

from jaxseg.data.geometry import Placement, place, restored
from jaxseg.data.images import decided, read_image
from jaxseg.data.loader import eval_batches
from jaxseg.data.masks import draw_mask
from jaxseg.data.samples import Samples
from jaxseg.predictor import Predictor

At = Literal["original", "network"]
Result = TypeVar("Result")


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
    on_faults: Callable[[dict[int, str]], None],
) -> Generator[Result, None, None]:
    """What `work` says of each image that can be read, in the order of the split.

    `work` runs in threads while the device computes the next batch; at most two batches of images are held.
    """

    def one(position: int, probabilities: Float32[np.ndarray, "height width outputs"]) -> Result:
        return work(view(samples, position, at, probabilities))

    pending: deque[Future[Result]] = deque()
    with (
        eval_batches(samples, batch_size) as batches,
        ThreadPoolExecutor(max(1, samples.data.threads), "jaxseg-score") as pool,
    ):
        for number, loaded in enumerate(batches):
            on_faults(loaded.faults)
            probabilities = predictor.probabilities(np.asarray(loaded.batch.image))
            first = number * batch_size
            while len(pending) > batch_size:
                yield pending.popleft().result()
            for row in np.flatnonzero(loaded.batch.weight):
                position = int(samples.positions[first + row])
                pending.append(pool.submit(one, position, probabilities[row]))
        while pending:
            yield pending.popleft().result()
