"""Annotations of one image, and the mask drawn of them."""

from pathlib import Path
from typing import Any

import numpy as np
from coco_files import annotation, content, image, rle

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
