"""What a model says of one picture."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from pycocotools import mask as rle

from jaxseg.pictures import overlay
from jaxseg.predicting.photograph import Orientation, Source, shrunk, shrunk_size

LONGEST = 4096
"""Pixels of the longer side of an overlay: it is to be looked at."""
SHOWN = 800
"""The same where a notebook shows a prediction."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one picture, at the picture's own size. A notebook shows it as a picture.

    Attributes:
        mask: class indices, 0 the background.
        probability: [height, width] of the foreground for a binary model, else [height, width, classes], the
            background first.
        class_names: the name of each index of the mask, the background first.
        source: the picture that was given.
        orientation: how it was taken.
    """

    mask: UInt8[np.ndarray, "height width"]
    probability: Float32[np.ndarray, "height width *classes"]
    class_names: tuple[str, ...]
    source: Source
    orientation: Orientation = "shown"

    def overlay(self, *, opacity: float = 0.5, longest: int = LONGEST) -> UInt8[np.ndarray, "_ _ 3"]:
        """The mask's colours over the picture, its longer side no longer than `longest`."""
        return drawn_over(self.source, self.mask, longest, orientation=self.orientation, opacity=opacity)

    def to_rle(self) -> dict[str, dict[str, Any]]:
        """The run-length code of each foreground class, by name, as COCO has it; an absent class's is empty."""
        return {name: encoded(self.mask == value) for value, name in enumerate(self.class_names) if value}

    def __repr__(self) -> str:
        shares = np.bincount(self.mask.ravel(), minlength=len(self.class_names)) / self.mask.size
        there = ", ".join(f"{name} {share:.1%}" for name, share in zip(self.class_names, shares, strict=True) if share)
        return f"Prediction({self.mask.shape[0]} x {self.mask.shape[1]}: {there})"

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.overlay(longest=SHOWN)).save(buffer, "PNG")
        return buffer.getvalue()


def drawn_over(
    source: Source,
    mask: UInt8[np.ndarray, "height width"],
    longest: int,
    *,
    orientation: Orientation,
    opacity: float = 0.5,
) -> UInt8[np.ndarray, "_ _ 3"]:
    """A mask over its picture; both are made smaller where they are larger than `longest`."""
    height, width = shrunk_size(mask.shape, longest)
    if (height, width) != mask.shape:
        mask = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    return overlay(shrunk(source, longest, orientation=orientation), mask, opacity=opacity)


def encoded(region: np.ndarray) -> dict[str, Any]:
    """COCO's compressed run-length code of a mask, fit for JSON."""
    code: Any = rle.encode(np.asfortranarray(region, np.uint8))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}
