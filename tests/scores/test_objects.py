"""Objects count by COCO's sizes, and by the pixels that the drawn mask leaves them."""

from pathlib import Path

import numpy as np
import pytest
from data.coco_files import annotation, box, image, rle, write_coco
from pycocotools import mask as coco_mask

import jaxseg
from jaxseg.arrays import VOID
from jaxseg.data.samples import open_split
from jaxseg.scores.examine import scored_placement
from jaxseg.scores.objects import Drawn, count_objects, drawn_objects, encode


def square(side: int, top: int = 0, left: int = 0) -> np.ndarray:
    mask = np.zeros((120, 120), bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize(("area", "size"), [(1, 0), (32**2 - 1, 0), (32**2, 1), (96**2 - 1, 1), (96**2, 2), (10**6, 2)])
def test_sizes_are_cocos(area: int, size: int) -> None:
    mask = square(10)
    counts = count_objects([Drawn(1, area, encode(mask))], mask.astype(np.uint8), mask.astype(np.uint8))
    assert counts[size].tolist() == [1, 1, 100, 100]
    assert counts.sum() == 202


@pytest.mark.parametrize(("rows", "found"), [(0, 0), (4, 0), (5, 1), (10, 1)])
def test_an_object_is_found_by_half_of_its_pixels(rows: int, found: int) -> None:
    mask = square(10)
    prediction = np.zeros((120, 120), np.uint8)
    prediction[:rows, :10] = 1
    assert count_objects([Drawn(1, 100, encode(mask))], mask.astype(np.uint8), prediction)[0].tolist() == [
        1,
        found,
        100,
        10 * rows,
    ]


def test_an_object_has_the_pixels_that_the_mask_gives_to_its_class() -> None:
    """One lies half under another class, one under void, one wholly under another."""
    first, second, third = square(10), square(10, left=5), square(4, top=50)
    truth = np.zeros((120, 120), np.uint8)
    truth[first], truth[second], truth[third] = 1, 2, 2
    truth[:2] = VOID
    objects = [Drawn(1, 100, encode(first)), Drawn(2, 100, encode(second)), Drawn(1, 16, encode(third))]
    prediction = np.full_like(truth, 2)
    assert count_objects(objects, truth, prediction)[0].tolist() == [2, 1, 8 * 5 + 8 * 10, 80]


def test_crowds_and_other_categories_are_no_objects_and_areas_are_of_the_original(tmp_path: Path) -> None:
    images = [image(1, 200, 100)]
    annotations = [
        annotation(1, 1, 1, [box(0, 0, 40, 40)]),
        annotation(2, 1, 2, [box(50, 50, 40, 40)]),
        annotation(3, 1, 3, [box(10, 120, 20, 30)]),
        annotation(4, 1, 1, rle(np.ones((200, 100), bool)), iscrowd=1),
    ]
    root = tmp_path / "coco"
    write_coco(root / "annotations" / "instances_val.json", images, annotations)
    (root / "images" / "val").mkdir(parents=True)
    samples = open_split(jaxseg.Data(root=root, classes=("cat", "bird"), height=50, width=50, mode="multiclass"), "val")
    for at, shape in (("original", (200, 100)), ("network", (50, 50))):
        found = list(drawn_objects(samples, 0, scored_placement(samples, 0, at)))
        assert [(drawn.label, drawn.area) for drawn in found] == [(1, 1600), (2, 600)]
        masks = [coco_mask.decode(drawn.runs) for drawn in found]
        assert {mask.shape for mask in masks} == {shape}
        assert masks[0].mean() == 1600 / 20000
