"""Masks: where things lie, what wins an overlap, what crowds and unknown categories become."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import annotation, box, content, image, rle, write_coco
from mask_pieces import FAITHFUL, FULL, cat, dog, drawn, region

from jaxseg.data.classes import choose_classes
from jaxseg.data.coco import DataError, build
from jaxseg.data.geometry import place
from jaxseg.data.masks import draw_mask
from jaxseg.data.samples import Data, open_split


@pytest.mark.parametrize("rasterize", ["full", "target"])
@pytest.mark.parametrize("target", [(30, 40), (60, 40), (15, 80), (120, 20), (7, 9)], ids=str)
def test_height_and_width_are_never_swapped(rasterize: str, target: tuple[int, int]) -> None:
    """An object in the upper right: its rows and columns scale each by its own side."""
    outline = annotation(1, 1, 1, [box(24, 3, 12, 6)])
    for entry in (outline, cat(region(slice(3, 9), slice(24, 36)))):
        mask = drawn([entry], target=target, rasterize=rasterize)
        assert mask.shape == target
        rows, columns = np.nonzero(mask)
        for found, low, high, scale in ((rows, 3, 9, target[0] / 30), (columns, 24, 36, target[1] / 40)):
            assert abs(found.min() - low * scale) <= 1
            assert abs(found.max() + 1 - high * scale) <= 1


@pytest.mark.parametrize("rasterize", ["full", "target"])
def test_parts_of_an_annotation_are_a_union(rasterize: str) -> None:
    """A second polygon inside a first is no hole, and one that overlaps it takes nothing away."""
    parts = [box(2, 2, 20, 20), box(8, 8, 5, 5), box(15, 10, 20, 8)]
    together = drawn([annotation(1, 1, 1, parts)], target=(45, 60), rasterize=rasterize)
    apart = [drawn([annotation(1, 1, 1, [part])], target=(45, 60), rasterize=rasterize) for part in parts]
    assert np.array_equal(together, np.max(apart, axis=0))
    assert together.any()


# Overlaps: a cat over the left, a larger dog over the right, a bird within both.

LEFT, RIGHT, SMALL = (
    region(slice(5, 25), slice(5, 20)),
    region(slice(0, 30), slice(15, 40)),
    region(slice(10, 14), slice(14, 22)),
)
THREE = [dog(RIGHT, 1), annotation(2, 1, 3, rle(SMALL)), cat(LEFT, 3)]
BOTH = LEFT & RIGHT & ~SMALL


@pytest.mark.parametrize("rasterize", ["full", "target"])
@pytest.mark.parametrize(
    ("overlap", "in_small", "in_both"), [("max_index", 3, 2), ("smallest_on_top", 3, 1), ("last_on_top", 1, 1)]
)
def test_overlap_rules(overlap: str, in_small: int, in_both: int, rasterize: str) -> None:
    mask = drawn(THREE, overlap=overlap, rasterize=rasterize)
    assert np.unique(mask[SMALL & LEFT]).tolist() == [in_small]
    assert np.unique(mask[SMALL & ~LEFT]).tolist() == [2 if overlap == "last_on_top" and in_small == 2 else 3]
    assert np.unique(mask[BOTH]).tolist() == [in_both]
    assert np.unique(mask[LEFT & ~RIGHT & ~SMALL]).tolist() == [1]
    assert np.unique(mask[RIGHT & ~LEFT & ~SMALL]).tolist() == [2]
    assert not mask[~LEFT & ~RIGHT & ~SMALL].any()


def test_last_on_top_goes_by_the_file() -> None:
    assert drawn([cat(LEFT), dog(RIGHT)], overlap="last_on_top")[BOTH].tolist() == [2] * BOTH.sum()
    assert drawn([dog(RIGHT), cat(LEFT)], overlap="last_on_top")[BOTH].tolist() == [1] * BOTH.sum()


def test_smallest_is_measured_in_pixels_not_taken_from_the_file() -> None:
    lying = [cat(LEFT, area=1e6), dog(RIGHT, area=1.0)]
    assert drawn(lying, overlap="smallest_on_top")[BOTH].tolist() == [1] * BOTH.sum()


@pytest.mark.parametrize("overlap", ["max_index", "smallest_on_top", "last_on_top"])
def test_of_one_class_no_order_matters(overlap: str) -> None:
    one = [cat(mask, id_) for id_, mask in enumerate((LEFT, RIGHT, SMALL, region(slice(0, 3), slice(0, 40))))]
    assert np.array_equal(drawn(one, overlap=overlap), drawn(one[::-1]))


# Crowds and unknown categories.


@pytest.mark.parametrize("overlap", ["max_index", "smallest_on_top", "last_on_top"])
@pytest.mark.parametrize(("crowds", "painted"), [("foreground", 2), ("void", 255), ("drop", 0)])
def test_crowds(crowds: str, painted: int, overlap: str) -> None:
    mask = drawn([dog(RIGHT, iscrowd=1), cat(SMALL)], crowds=crowds, overlap=overlap)
    assert np.unique(mask[RIGHT & ~SMALL]).tolist() == [painted]
    assert not mask[~RIGHT & ~SMALL].any()


@pytest.mark.parametrize("overlap", ["max_index", "smallest_on_top", "last_on_top"])
@pytest.mark.parametrize("order", [1, -1])
def test_an_object_stands_on_a_void_crowd(overlap: str, order: int) -> None:
    """Whatever its size, and wherever the file lists it."""
    mask = drawn([dog(SMALL, iscrowd=1), cat(LEFT)][::order], crowds="void", overlap=overlap)
    assert np.unique(mask[LEFT]).tolist() == [1]
    assert np.unique(mask[SMALL & ~LEFT]).tolist() == [255]


def test_crowds_of_classes_that_are_not_chosen_paint_nothing() -> None:
    assert not drawn([dog(RIGHT, iscrowd=1)], classes=("cat",), crowds="void").any()


@pytest.mark.parametrize(("unknown", "painted"), [("background", 0), ("void", 255)])
def test_unknown_categories(unknown: str, painted: int) -> None:
    stranger = annotation(1, 1, 77, rle(RIGHT))
    mask = drawn([stranger, cat(LEFT)], unknown_category=unknown)
    assert np.unique(mask[RIGHT & ~LEFT]).tolist() == [painted]
    assert np.unique(mask[LEFT]).tolist() == [1]


def test_unknown_categories_can_be_an_error(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "x.json", [image(1)], [annotation(8, 1, 77, [box(1, 1, 5, 5)]), cat(LEFT)])
    assert len(open_split(Data(train_json=path), "train")) == 1
    with pytest.raises(DataError, match=r"1 annotation of categories that the file does not list; ids 8. Mend"):
        open_split(Data(train_json=path, unknown_category="error"), "train")


@pytest.mark.parametrize("rasterize", ["full", "target"])
@pytest.mark.parametrize("segmentation", [None, [], [[1, 2, 3]], [[float("nan")] * 6], {"counts": [5], "size": [1, 1]}])
def test_what_cant_be_drawn_leaves_the_rest(segmentation: Any, rasterize: str) -> None:
    bad = {**annotation(1, 1, 2), "segmentation": segmentation}
    good = annotation(2, 1, 1, [box(5, 5, 10, 10)])
    for overlap in ("max_index", "smallest_on_top", "last_on_top"):
        mask = drawn([bad, good, bad], rasterize=rasterize, overlap=overlap, target=(15, 20))
        assert np.array_equal(mask, drawn([good], rasterize=rasterize, target=(15, 20)))
        assert mask.any()


def test_binary_masks_hold_ones() -> None:
    """Class indices, never 0 and 255: 255 is void."""
    index = build(content([image(1)], THREE), Path("x.json"), "")
    lookup = choose_classes(index, None, "binary").lookup(index)
    mask = draw_mask(index.annotations(0), lookup, FAITHFUL, place(FULL, FULL, "stretch"))
    assert np.array_equal(mask, (LEFT | RIGHT | SMALL).astype(np.uint8))


@pytest.mark.parametrize("rasterize", ["full", "target"])
def test_an_outline_may_leave_the_image(rasterize: str) -> None:
    mask = drawn([annotation(1, 1, 1, [box(-100, -50, 110, 60)])], target=(60, 80), rasterize=rasterize)
    assert np.array_equal(mask > 0, region(slice(0, 20), slice(0, 20), (60, 80)))
