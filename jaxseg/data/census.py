"""How many pixels each class has in the training images."""

import numpy as np
from jaxtyping import Int64

from jaxseg.arrays import VOID
from jaxseg.data.coco import DataError
from jaxseg.data.samples import Samples
from jaxseg.progress import progress_bar

MOST = 2000
"""Images that are looked at: enough to know the shares to a few percent."""


def class_pixels(samples: Samples) -> Int64[np.ndarray, " classes"]:
    """Of each class in the masks as they are trained on, the background first; of at most `MOST` images, evenly spread.

    Raises:
        DataError: for an annotation that can't be drawn, unless such are skipped.
    """
    positions = samples.positions[:: -(-len(samples) // MOST)]
    counts = np.zeros(VOID + 1, np.int64)
    with progress_bar(len(positions), "counting pixels", delay=2.0) as bar:
        for position in positions:
            try:
                counts += np.bincount(samples.mask(int(position)).ravel(), minlength=VOID + 1)
            except DataError:
                if samples.data.on_error == "raise":
                    raise
            bar.update()
    return counts[: len(samples.table.names)]
