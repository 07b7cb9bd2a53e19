"""A step to its batch: the positions that are due, and the samples there."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from jaxseg.arrays import Batch
from jaxseg.data.samples import Samples
from jaxseg.data.windows import Window

PADDING = -1  # in place of a position and of an image's id
Order = Callable[[int], Int64[np.ndarray, " batch"]]
"""A step to the positions that are due."""
Windows = Callable[[int, int], Window]
"""A step and a row of its batch to the window that is due."""


class Loaded(NamedTuple):
    """A batch, with what stays on the host: the images' ids (-1: padding), and faults by image id."""

    batch: Batch
    image_ids: Int64[np.ndarray, " batch"]
    faults: dict[int, str]


class Assembly:
    """Makes the batch of a step; with a pool, its threads make so many parts at once, so that the first comes soon.

    `windows` says which window is due, where pictures are seen in windows.
    """

    def __init__(
        self,
        samples: Samples,
        order: Order,
        pool: ThreadPoolExecutor | None = None,
        parts: int = 1,
        windows: Windows | None = None,
    ) -> None:
        self.samples, self.order, self.pool, self.parts, self.windows = samples, order, pool, parts, windows

    def __call__(self, step: int) -> Loaded:
        positions, data = self.order(step), self.samples.data
        size = len(positions)
        batch = Batch(
            np.zeros((size, data.height, data.width, data.channels), np.uint8),
            np.zeros((size, data.height, data.width), np.uint8),
            np.zeros(size, np.float32),
        )
        loaded = Loaded(batch, np.full(size, PADDING), {})
        real = np.flatnonzero(positions != PADDING)
        fill, parts = partial(self.fill, step, loaded, positions), np.array_split(real, self.parts)
        for _ in self.pool.map(fill, parts) if self.pool else map(fill, parts):
            pass
        # In the order of the batch, whichever thread was first.
        return loaded._replace(faults={int(i): loaded.faults[i] for i in loaded.image_ids if i in loaded.faults})

    def fill(self, step: int, loaded: Loaded, positions: np.ndarray, places: np.ndarray) -> None:
        for place in places:
            window = self.windows(step, int(place)) if self.windows else None
            sample = self.samples.at(int(positions[place]), step, window)
            loaded.batch.image[place], loaded.batch.mask[place] = sample["image"], sample["mask"]
            loaded.batch.weight[place], loaded.image_ids[place] = sample["weight"], sample["image_id"]
            if sample["fault"]:
                loaded.faults[int(sample["image_id"])] = sample["fault"]
