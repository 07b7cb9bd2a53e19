"""The counts of one image, and the scores that follow from them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from jaxseg.metrics import Overlap


@dataclass(frozen=True, eq=False)
class ImageScore:
    """The counts of one image.

    Attributes:
        position: in the annotations file.
        image_id: in the annotations file.
        file_name: in the images folder.
        height: of the picture.
        width: of the picture.
        pixels: in both, of the truth, of the prediction; of the foreground, then each class, the background first.
        boundary: the same of the boundaries; of the foreground, then the classes 1, 2, ...
    """

    position: int
    image_id: int
    file_name: str
    height: int
    width: int
    pixels: Int64[np.ndarray, "3 regions"]
    boundary: Int64[np.ndarray, "3 classes"]

    @property
    def overlap(self) -> Overlap:
        """The foreground's."""
        return Overlap(*self.pixels[:, 0])

    @property
    def iou(self) -> float:
        """Of the foreground; NaN where there is none, neither true nor predicted."""
        return float(self.overlap.iou)

    @property
    def dice(self) -> float:
        """Of the foreground; NaN where there is none, neither true nor predicted."""
        return float(self.overlap.dice)

    @property
    def false_positives(self) -> int:
        """Background pixels that were predicted as foreground."""
        return int(self.overlap.predicted - self.overlap.both)

    @property
    def false_negatives(self) -> int:
        """Foreground pixels that were predicted as background."""
        return int(self.overlap.truth - self.overlap.both)

    @property
    def empty(self) -> bool:
        """True if nothing in the image is truly foreground."""
        return not self.overlap.truth

    def __repr__(self) -> str:
        score = "no true foreground" if self.empty else f"IoU {self.iou:.3f}"
        wrong = f"{self.false_positives:,} pixels falsely foreground, {self.false_negatives:,} missed"
        return f"ImageScore({self.file_name}: {score}; {wrong})"
