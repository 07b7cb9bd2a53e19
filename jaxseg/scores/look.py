"""An image of an evaluation to look at: the picture beside its errors."""

import io
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from jaxseg.pictures import as_rgb, error_map

GAP = 8
"""Pixels between the two."""
SHOWN = 400
"""The longer side of each, in pixels, where a notebook shows them."""


class Look(NamedTuple):
    """An image to look at: the picture, what is true, what was predicted, and how probable each class was."""

    image: UInt8[np.ndarray, "height width channels"]
    truth: UInt8[np.ndarray, "height width"]
    prediction: UInt8[np.ndarray, "height width"]
    probabilities: Float32[np.ndarray, "height width outputs"]

    def errors_beside(self, longest: int = SHOWN) -> UInt8[np.ndarray, "_ _ 3"]:
        """The picture, and beside it its errors in the colours of `jaxseg.pictures.ERRORS`, at a size to look at."""
        height, width = self.truth.shape
        scale = longest / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = np.asarray(Image.fromarray(as_rgb(self.image)).resize(size, Image.Resampling.LANCZOS))
        truth, prediction = (
            np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
            for mask in (self.truth, self.prediction)
        )
        gap = np.full((size[1], GAP, 3), 255, np.uint8)
        return np.concatenate([picture, gap, error_map(picture, truth, prediction)], axis=1)

    def __repr__(self) -> str:
        height, width = self.truth.shape
        return f"Look({height} x {width}: {', '.join(self._fields)})"

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.errors_beside()).save(buffer, "PNG")
        return buffer.getvalue()
