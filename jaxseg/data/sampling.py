"""Which images an epoch holds: a pure function of (seed, epoch), of a length known beforehand."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from jaxseg.data.classes import ClassTable, images_with
from jaxseg.data.coco import CocoIndex

ALL = slice(None)


@dataclass(frozen=True)
class Sampling:
    """The images that training draws from, by position in the index, and how often each comes.

    `factors` says how often each of the `positives` comes in an epoch, relative to the others; of all samples, the
    `share` is drawn from the `negatives`. Where `share` is None and all factors are 1, an epoch is each image once.
    """

    positives: Int64[np.ndarray, " positives"]
    factors: Float64[np.ndarray, " positives"]
    negatives: Int64[np.ndarray, " negatives"]
    share: float | None

    @property
    def plain(self) -> bool:
        """True if an epoch is each image once."""
        return self.share is None and bool((self.factors == 1).all())

    @property
    def images(self) -> int:
        """That training sees sooner or later."""
        return len(self.positives) + (len(self.negatives) if self.share else 0)

    @property
    def total(self) -> float:
        """Samples of an epoch, if batches were divisible."""
        return float(self.factors.sum()) / (1 - (self.share or 0))

    def evaluated(self, seed: int) -> Int64[np.ndarray, " positions"]:
        """What validation and test see, in the order of the file: the positives, and a choice of the negatives.

        The negatives are the `share` as in training, or all there are where they are fewer; the choice is always the
        same. So a validation loss and a threshold answer for false positives as training does, at its cost.
        """
        wanted = round(len(self.positives) / (1 - (self.share or 0))) - len(self.positives)
        chosen = np.random.default_rng(seed).permutation(self.negatives)[:wanted]
        return np.sort(np.concatenate([self.positives, chosen]))

    def length(self, batch_size: int) -> int:
        """Samples of every epoch, in whole batches: what remains is left to another epoch."""
        return int(self.total / batch_size + 1e-9) * batch_size

    def epoch(self, seed: int, epoch: int, length: int) -> Int64[np.ndarray, " length"]:
        """The positions of one epoch, in their order; the negatives are `round(share * length)` of them."""
        rng = np.random.default_rng([seed, epoch])
        absent = round((self.share or 0) * length)
        with_classes = self.positives[drawn(self.factors, length - absent, rng)]
        without = self.negatives[drawn(np.ones(len(self.negatives)), absent, rng)]
        # Not grain's shuffle: on an epoch of a few hundred it takes a quarter of a millisecond an image.
        return rng.permutation(np.concatenate([with_classes, without]))


def drawn(weights: Float64[np.ndarray, " images"], count: int, rng: np.random.Generator) -> Int64[np.ndarray, " count"]:
    """`count` places, each drawn as often as its weight says: rounded at random, down or up.

    Systematic sampling: the weights, in random order, are arcs of a circle; `count` points at equal distances, turned
    at random, fall on them. So a place of weight w comes floor(x) or ceil(x) times, where x = count * w / sum(weights),
    and x times on average. Equal weights give a random choice without repetition, as far as `count` allows.
    """
    if not count:
        return np.zeros(0, np.int64)
    order = rng.permutation(len(weights))
    ends = np.cumsum(weights[order])
    points = (np.arange(count) + rng.random()) * (ends[-1] / count)
    found = np.searchsorted(ends, points, side="right")
    return order[np.minimum(found, len(order) - 1)].astype(np.int64)


def repeat_factors(
    image: Int64[np.ndarray, " objects"], kind: Int64[np.ndarray, " objects"], images: int, threshold: float
) -> Float64[np.ndarray, " images"]:
    """How often each image should come so that rare kinds of objects are seen more often.

    A kind that is in the share f of the images has the factor max(1, sqrt(threshold / f)); an image has the highest
    factor of the kinds that it holds, and 1 if it holds none. (Repeat factor sampling: Gupta, Dollar and Girshick,
    LVIS, CVPR 2019, section 5.1.) `image` and `kind` name the image and the kind of each object.
    """
    kinds = int(kind.max(initial=-1)) + 1
    holding = np.bincount(np.unique(image * kinds + kind) % max(kinds, 1), minlength=kinds)
    of_kind = np.sqrt(np.maximum(1, threshold * images / np.maximum(holding, 1)))
    factors = np.ones(images)
    np.maximum.at(factors, image, of_kind[kind])
    return factors


def plan(
    index: CocoIndex,
    table: ClassTable,
    within: Int64[np.ndarray, " positions"],
    *,
    everything: bool,
    negatives: float | None,
    balance: float,
) -> Sampling:
    """How the images at the positions `within` are drawn from.

    `everything` and no share of `negatives`: each of them is a positive, whether it holds a class or not.
    """
    holding = images_with(index, table)
    positives = within if everything and negatives is None else np.intersect1d(within, holding)
    factors = balanced(index, table, positives, balance) if balance else np.ones(len(positives))
    return Sampling(positives, factors, np.setdiff1d(within, holding), negatives)


def balanced(
    index: CocoIndex, table: ClassTable, positions: Int64[np.ndarray, " positions"], threshold: float
) -> Float64[np.ndarray, " positions"]:
    """The repeat factors of these images; the classes of a binary mask count apart."""
    of_name = {name: kind for kind, names in enumerate(table.members) for name in names}
    kinds = np.asarray([of_name.get(category.name, -1) for category in index.categories] + [-1])
    place = np.full(len(index), -1)
    place[positions] = np.arange(len(positions))
    owner = place[np.repeat(np.arange(len(index)), np.diff(index.annotation_offsets))]
    kind = kinds[index.annotation_category]  # -1, unknown, is not drawn
    kept = (kind >= 0) & (owner >= 0)
    return repeat_factors(owner[kept], kind[kept], len(positions), threshold)


class Epochs:
    """A step to its positions in the index, or to these rows of them. Worker processes take it along: so it is here."""

    def __init__(self, sampling: Sampling, seed: int, batch_size: int, steps: int, rows: slice = ALL) -> None:
        self.sampling, self.seed, self.batch_size, self.steps, self.rows = sampling, seed, batch_size, steps, rows
        self.drawn: dict[int, np.ndarray] = {}

    def __call__(self, step: int) -> Int64[np.ndarray, " batch"]:
        epoch, place = divmod(step, self.steps)
        drawn = self.drawn.get(epoch)
        if drawn is None:  # threads may draw one twice: the same
            drawn = self.sampling.epoch(self.seed, epoch, self.steps * self.batch_size)
            near = {other: those for other, those in self.drawn.items() if abs(other - epoch) == 1}
            self.drawn = {epoch: drawn, **near}
        return drawn[place * self.batch_size :][: self.batch_size][self.rows]
