"""What a person wants to know of a data set before training: classes, pixels, objects, sizes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int64

from jaxseg.arrays import VOID

SMALL, MEDIUM = 32**2, 96**2  # COCO's bounds, pixels at full size
SIDES = tuple(2**power for power in range(13))  # bounds of the histogram of objects: the square root of their area


@dataclass
class Statistics:
    """Counts over the images of one split that a run would use.

    `pixels` are those of masks as they are trained on: at the training size, overlaps decided, void counted apart.
    `objects` and `sides` are of annotations of the classes, at full size.
    """

    classes: tuple[str, ...]
    images: int = 0
    empty: int = 0
    pixels: Int64[np.ndarray, " values"] = field(default_factory=lambda: np.zeros(VOID + 1, np.int64))
    images_of: Int64[np.ndarray, " values"] = field(default_factory=lambda: np.zeros(VOID + 1, np.int64))
    objects_of: Int64[np.ndarray, " values"] = field(default_factory=lambda: np.zeros(VOID + 1, np.int64))
    sides: Int64[np.ndarray, " bins"] = field(default_factory=lambda: np.zeros(len(SIDES), np.int64))
    small: int = 0
    medium: int = 0
    large: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)

    def add(
        self, size: tuple[int, int], counts: Int64[np.ndarray, " values"], objects: Sequence[tuple[int, int]]
    ) -> None:
        """One image of (height, width): pixels of each value of its mask; class and area of each object."""
        self.images += 1
        self.sizes[size] += 1
        self.pixels += counts
        self.images_of += counts > 0
        self.empty += not counts[1:VOID].any()
        for label, area in objects:
            self.objects_of[label] += 1
            self.sides[max(0, int(np.searchsorted(SIDES, area**0.5, "right")) - 1)] += 1
            self.small += area < SMALL
            self.medium += SMALL <= area < MEDIUM
            self.large += area >= MEDIUM

    @property
    def valid(self) -> int:
        """Pixels that count: all but void."""
        return int(self.pixels[:VOID].sum())

    @property
    def foreground(self) -> float | None:
        """The share of valid pixels that are of a class; None without any."""
        return 1 - int(self.pixels[0]) / self.valid if self.valid else None

    @property
    def void(self) -> float | None:
        """The share of all pixels that is void; None without any."""
        total = int(self.pixels.sum())
        return int(self.pixels[VOID]) / total if total else None

    def share(self, label: int) -> float | None:
        """The share of valid pixels that are of a class; None without any."""
        return int(self.pixels[label]) / self.valid if self.valid else None

    def pos_weight(self, label: int | None = None) -> float | None:
        """Negative over positive pixels, of a class or of all together; None without positive ones."""
        positive = int(self.pixels[label]) if label is not None else self.valid - int(self.pixels[0])
        return (self.valid - positive) / positive if positive else None

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        classes = {
            name: {
                "images": int(self.images_of[label]),
                "objects": int(self.objects_of[label]),
                "pixels": int(self.pixels[label]),
                "pos_weight": self.pos_weight(label),
            }
            for label, name in enumerate(self.classes)
            if label
        }
        return {
            "images": self.images,
            "images_without_class": self.empty,
            "pixels": {"valid": self.valid, "void": int(self.pixels[VOID]), "background": int(self.pixels[0])},
            "foreground_share": self.foreground,
            "pos_weight": self.pos_weight(),
            "classes": classes,
            "objects": {"small": self.small, "medium": self.medium, "large": self.large},
            "object_sides": {str(side): int(count) for side, count in zip(SIDES, self.sides, strict=True)},
            "image_sizes": [[*size, count] for size, count in self.sizes.most_common()],
        }


def by_pixels(splits: Mapping[str, Statistics]) -> list[int]:
    """The classes' indices, those of most pixels first."""
    counts = np.sum([of.pixels for of in splits.values()], axis=0)
    classes = max((len(of.classes) for of in splits.values()), default=0)
    return sorted(range(1, classes), key=lambda label: -counts[label])
