"""Annotations of one image, and the mask drawn of them."""

from pathlib import Path
from typing import Any

import numpy as np
from coco_files import annotation, compressed, content, image, rle
from pycocotools import mask as coco_mask

from jaxseg.data.classes import choose_classes
from jaxseg.data.coco import build
from jaxseg.data.geometry import Resize, place
from jaxseg.data.masks import MaskRules, draw_mask

FULL = (30, 40)
FAITHFUL = MaskRules("max_index", "foreground", "background", "full")


def drawn(
    annotations: list[dict],
    full: tuple[int, int] = FULL,
    target: tuple[int, int] | None = None,
    classes: tuple[str, ...] = ("cat", "dog", "bird"),
    resize: Resize = "stretch",
    **rules: Any,
) -> np.ndarray:
    index = build(content([image(1, *full)], annotations), Path("x.json"), "")
    lookup = choose_classes(index, classes, "multiclass").lookup(index)
    return draw_mask(index.annotations(0), lookup, FAITHFUL._replace(**rules), place(full, target or full, resize))


def region(rows: slice, columns: slice, full: tuple[int, int] = FULL) -> np.ndarray:
    mask = np.zeros(full, bool)
    mask[rows, columns] = True
    return mask


def cat(mask: np.ndarray, id_: int = 1, **more: Any) -> dict:
    return annotation(id_, 1, 1, rle(mask), **more)


def dog(mask: np.ndarray, id_: int = 2, **more: Any) -> dict:
    return annotation(id_, 1, 2, rle(mask), **more)


def full_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """As pycocotools' annToMask."""
    if isinstance(segmentation, list):
        encoded = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        encoded = coco_mask.frPyObjects(segmentation, height, width)
    else:
        encoded = segmentation
    return coco_mask.decode(encoded).astype(float)


def resized(mask: np.ndarray, target: tuple[int, int]) -> np.ndarray:
    """Linear interpolation between the middles of pixels, constant beyond the outermost."""
    middles = [(np.arange(new) + 0.5) * old / new - 0.5 for old, new in zip(mask.shape, target, strict=True)]
    y, x = np.meshgrid(*(np.clip(m, 0, old - 1) for m, old in zip(middles, mask.shape, strict=True)), indexing="ij")
    corners = [
        (np.floor(y), np.floor(x)),
        (np.floor(y), np.ceil(x)),
        (np.ceil(y), np.floor(x)),
        (np.ceil(y), np.ceil(x)),
    ]
    near = [(1 - abs(y - row)) * (1 - abs(x - column)) for row, column in corners]
    held = [mask[row.astype(int), column.astype(int)] for row, column in corners]
    return np.sum([n * h for n, h in zip(near, held, strict=True)], axis=0) / np.sum(near, axis=0)


def random_annotations(random: np.random.Generator, height: int, width: int) -> list[dict]:
    """Stars of several parts, and patchy run lengths."""
    found = []
    for id_ in range(random.integers(1, 7)):
        if random.random() < 0.7:
            segmentation: Any = []
            for _ in range(random.integers(1, 4)):
                angle = np.sort(random.random(random.integers(3, 12))) * 2 * np.pi
                radius = random.uniform(0.05, 0.5, angle.size)
                x, y = (random.random() + radius * f(angle) for f in (np.cos, np.sin))
                segmentation.append((np.stack([x * width, y * height], axis=1)).ravel().tolist())
        else:
            cells = random.random((-(-height // 5), -(-width // 6))) < 0.3
            mask = np.kron(cells, np.ones((5, 6)))[:height, :width]
            segmentation = rle(mask) if random.random() < 0.5 else {"counts": compressed(mask), "size": [height, width]}
        found.append(annotation(id_, 1, int(random.integers(1, 5)), segmentation, iscrowd=int(random.random() < 0.2)))
    return found
