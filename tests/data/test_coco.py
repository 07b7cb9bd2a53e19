"""The index gives back what a COCO file says, leaves out what can't be drawn, and says so."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import CATEGORIES, annotation, box, compressed, content, image, rle, runs, write_coco
from pycocotools import mask as coco_mask

from jaxseg.data.coco import CocoIndex, DataError, read_index
from jaxseg.data.geometry import MAX_PIXELS

GOOD = box(1, 2, 10, 5)


def index_of(tmp_path: Path, images: list[dict], annotations: list[dict], categories: Any = CATEGORIES) -> CocoIndex:
    return read_index(write_coco(tmp_path / "instances_train.json", images, annotations, categories))


def segmentation_index(tmp_path: Path, *segmentations: Any) -> CocoIndex:
    """One image of 30 x 40, with an annotation for each segmentation: ids 1, 2, ..."""
    annotations = [{**annotation(i, 7), "segmentation": s} for i, s in enumerate(segmentations, 1)]
    return index_of(tmp_path, [image(7)], annotations)


def random_segmentation(random: np.random.Generator, height: int, width: int) -> Any:
    kind = random.integers(4)
    if kind < 2:
        sizes = random.integers(3, 9, random.integers(1, 4))
        return [(random.random(2 * size) * np.resize([width, height], 2 * size)).tolist() for size in sizes]
    mask = random.random((height, width)) < random.random()
    return rle(mask) if kind == 2 else {"counts": compressed(mask), "size": [height, width]}


def random_content(seed: int) -> dict[str, Any]:
    """Images in any order, their ids with gaps; annotations in any order; a category that nothing has."""
    random = np.random.default_rng(seed)
    ids = random.choice(2**40, random.integers(1, 12), replace=False).tolist()
    images = [
        image(i, int(random.integers(1, 40)), int(random.integers(1, 40)), file_name=f"ordner/größe 写真 {i}.jpg")
        for i in ids
    ]
    annotations = []
    for id_ in random.permutation(random.integers(0, 40)).tolist():
        owner = images[random.integers(len(images))]
        segmentation = random_segmentation(random, owner["height"], owner["width"])
        crowd = int(isinstance(segmentation, dict))
        annotations.append(annotation(id_, owner["id"], int(random.choice([0, 5, 90])), segmentation, iscrowd=crowd))
    categories = [{"id": i, "name": f"name {i}", "supercategory": "thing"} for i in (90, 0, 31, 5)]
    return content(images, annotations, categories)


def plain_runs(segmentation: dict[str, Any]) -> list[int]:
    """The runs of an RLE; a compressed one is left to pycocotools to decode."""
    counts = segmentation["counts"]
    return counts if isinstance(counts, list) else runs(coco_mask.decode(segmentation))


def assert_index_holds(index: CocoIndex, said: dict[str, Any]) -> None:
    assert [tuple(c) for c in index.categories] == [
        (c["id"], c["name"], c.get("supercategory", "")) for c in said["categories"]
    ]
    assert len(index) == len(said["images"])
    for position, entry in enumerate(said["images"]):
        found = index.image_id[position], index.image_height[position], index.image_width[position]
        assert found == (entry["id"], entry["height"], entry["width"])
        assert index.file_name(position) == entry["file_name"]
        own = [a for a in said["annotations"] if a["image_id"] == entry["id"]]
        for held, expected in zip(index.annotations(position), own, strict=True):
            assert (held.id, held.crowd) == (expected["id"], bool(expected["iscrowd"]))
            assert index.categories[held.category].id == expected["category_id"]
            segmentation = expected["segmentation"]
            if isinstance(segmentation, list):
                assert held.rle is None
                assert [p.tolist() for p in held.polygons] == segmentation
            else:
                assert held.polygons == []
                assert held.rle is not None
                assert held.rle.tolist() == plain_runs(segmentation)


@pytest.mark.parametrize("seed", range(20))
def test_everything_comes_back_in_the_order_of_the_file(tmp_path: Path, seed: int) -> None:
    said = random_content(seed)
    path = tmp_path / "any.json"
    path.write_text(json.dumps(said), encoding="utf-8")
    index = read_index(path)
    assert_index_holds(index, said)
    assert index.warnings() == []


@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_real_coco_comes_back(coco_dev: Path, split: str) -> None:
    path = coco_dev / "annotations" / f"instances_{split}.json"
    index = read_index(path)
    assert_index_holds(index, json.loads(path.read_text()))
    assert index.warnings() == []


def test_the_digest_is_the_file_s(tmp_path: Path) -> None:
    ours = segmentation_index(tmp_path, [GOOD])
    assert segmentation_index(tmp_path, [GOOD]).digest == ours.digest != segmentation_index(tmp_path, []).digest


# What an annotation may lack.


@pytest.mark.parametrize("segmentation", [None, [], "polygon", 4], ids=str)
def test_no_segmentation_is_told(tmp_path: Path, segmentation: Any) -> None:
    index = segmentation_index(tmp_path, segmentation, [GOOD])
    empty, _ = index.annotations(0)
    assert (empty.polygons, empty.rle) == ([], None)
    assert index.warnings() == ["instances_train.json: 1 annotation without segmentation: nothing is drawn; id 1"]


def test_a_missing_segmentation_is_told(tmp_path: Path) -> None:
    index = index_of(tmp_path, [image(1)], [annotation(5, 1)])
    assert index.empty_annotations().tolist() == [5]


def test_annotations_of_unknown_images_are_left_out_and_told(tmp_path: Path) -> None:
    ids = [5, 99, None, "1", [1], {"a": 1}, 1.5, 1.0]
    annotations = [{**annotation(i, 0, 1, [GOOD]), "image_id": id_} for i, id_ in enumerate(ids)]
    index = index_of(tmp_path, [image(1), image(5)], annotations)
    assert [a.id for a in index.annotations(0)] == [7]
    assert [a.id for a in index.annotations(1)] == [0]
    assert index.orphans.tolist() == [1, 2, 3, 4, 5, 6]
    assert "6 annotations of images that the file does not list, or" in index.warnings()[0]
    assert index.warnings()[0].endswith("first ids 1, 2, 3, 4, 5")


def test_annotations_of_unknown_categories_are_kept_and_told(tmp_path: Path) -> None:
    ids = [1, 99, None, "1", [1], 3]
    annotations = [{**annotation(i, 1, 0, [GOOD]), "category_id": id_} for i, id_ in enumerate(ids)]
    index = index_of(tmp_path, [image(1)], annotations)
    assert [a.category for a in index.annotations(0)] == [0, -1, -1, -1, -1, 2]
    assert "4 annotations of categories that the file does not list, or that can't be used: see " in index.warnings()[0]


def test_id_zero_is_an_id_like_any_other(tmp_path: Path) -> None:
    index = index_of(tmp_path, [image(3), image(0)], [annotation(0, 0, 0, [GOOD])], [{"id": 0, "name": "cat"}])
    assert index.image_id.tolist() == [3, 0]
    assert [(a.id, a.category) for a in index.annotations(1)] == [(0, 0)]
    assert index.warnings() == []


def test_whole_floats_are_whole_numbers(tmp_path: Path) -> None:
    index = index_of(tmp_path, [image(1.0, 30.0, 40.0)], [annotation(2.0, 1.0, 1.0, [GOOD])])
    assert (index.image_id[0], index.image_height[0], index.image_width[0]) == (1, 30, 40)
    assert [(a.id, a.category) for a in index.annotations(0)] == [(2, 0)]


def test_a_file_may_hold_no_image(tmp_path: Path) -> None:
    assert len(index_of(tmp_path, [], [])) == 0
    assert index_of(tmp_path, [], [annotation(1, 1, 1, [GOOD])]).orphans.tolist() == [1]


# Files that can't be used.


def refuse(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_index(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "can't be read (No such file or directory)" in refuse(tmp_path / "none.json")
    assert "can't be read (Is a directory)" in refuse(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b"id,name\n1,cat\n", b"[]", b"{}"])
def test_what_is_no_coco_is_said(tmp_path: Path, text: bytes) -> None:
    """`test_stream` has all the ways."""
    path = tmp_path / "x.json"
    path.write_bytes(text)
    assert "is not " in refuse(path)


def entry(**changes: Any) -> dict[str, Any]:
    """An image's entry; a change to `...` takes the key away."""
    return {key: value for key, value in {**image(1), **changes}.items() if value is not ...}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": ...}, "expected 'width' to be a whole number, found None"),
        ({"height": "30"}, "expected 'height' to be a whole number, found '30'"),
        ({"height": 30.5}, "expected 'height' to be a whole number, found 30.5"),
        ({"height": math.nan}, "expected 'height' to be a whole number, found nan"),
        ({"height": True}, "expected 'height' to be a whole number, found True"),
        ({"height": 0}, "image 1 has height 0, width 40; both must be positive"),
        ({"width": -4}, "image 1 has height 30, width -4; both must be positive"),
        ({"id": ...}, "expected 'id' to be a whole number, found None"),
        ({"id": "1"}, "expected 'id' to be a whole number, found '1'"),
        ({"id": 1e300}, "expected 'id' to be a whole number"),
        ({"id": 2**63}, "expected 'id' to be a whole number"),
        ({"id": -(2**63)}, "expected 'id' to be a whole number"),
        (
            {"height": 10**5, "width": 10**5},
            "image 1, by its entry, is 100000 x 100000 (height x width): more than the 134217728",
        ),
        ({"file_name": ...}, "expected 'file_name' to be text, found None"),
        ({"file_name": 4}, "expected 'file_name' to be text, found 4"),
        ({"file_name": "\ud800.jpg"}, r"expected 'file_name' to be text, found '\ud800.jpg'"),
    ],
    ids=str,
)
def test_a_wrong_image_entry_is_left_out_and_said(tmp_path: Path, changes: dict, message: str) -> None:
    """Whether it is an error is for `data.on_error` to say: see `test_samples`."""
    boxes = [annotation(i, i, 1, [GOOD]) for i in (1, 2, 3)]
    index = index_of(tmp_path, [image(3), entry(**changes), image(2)], boxes)
    assert index.image_id.tolist() == [3, 2]
    assert [a.id for p in (0, 1) for a in index.annotations(p)] == [3, 2]
    assert index.orphans.tolist() == [1]
    assert index.bad_images.number == 1
    assert message in index.bad_images.first[0]
    assert str(index.path) in index.bad_images.first[0]
    assert "1 annotation of images that the file does not list, or that can't be used: left out" in index.warnings()[0]
    assert "instances_train.json: 1 image left out that can't be used; first " in index.warnings()[1]


def test_an_image_id_is_given_to_one(tmp_path: Path) -> None:
    images = [image(4), image(2), image(4, file_name="other.png"), image(4)]
    index = index_of(tmp_path, images, [annotation(1, 4, 1, [GOOD])])
    assert [index.file_name(i) for i in (0, 1)] == ["4.png", "2.png"]
    assert [len(list(index.annotations(i))) for i in (0, 1)] == [1, 0]
    assert index.bad_images.number == 2
    assert "image id 4 is given to two entries" in index.bad_images.first[0]


def test_the_first_of_many_wrong_entries_are_told(tmp_path: Path) -> None:
    index = index_of(tmp_path, [entry(height=0, id=i) for i in range(50)], [])
    assert (len(index), index.bad_images.number, len(index.bad_images.first)) == (0, 50, 5)


@pytest.mark.parametrize("size", [(10**9, 10**9), (1, MAX_PIXELS + 1), (20_000, 20_000), (2**31, 1), (10**30, 10**30)])
def test_an_absurd_size_is_left_out_and_said(tmp_path: Path, size: tuple[int, int]) -> None:
    index = index_of(tmp_path, [image(1, *size), image(2)], [])
    assert index.image_id.tolist() == [2]
    assert (
        "image 1, by its entry, is" in index.bad_images.first[0]
        or "expected 'height' to be" in index.bad_images.first[0]
    )


def test_the_largest_image_that_is_decoded_is_none_too_large(tmp_path: Path) -> None:
    assert len(index_of(tmp_path, [image(1, 1, MAX_PIXELS)], [])) == 1
    assert len(index_of(tmp_path, [image(1, 1, MAX_PIXELS + 1)], [])) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"id": 9, "name": "dog"}, "category id 9 is given to two entries"),
        ({"id": 1}, "expected 'name' to be text"),
        ({"id": 1, "name": 7}, "expected 'name' to be text"),
        ({"id": "1", "name": "x"}, "expected 'id' to be a whole number, found '1'"),
    ],
)
def test_a_wrong_category_entry_is_left_out_and_said(tmp_path: Path, wrong: dict, message: str) -> None:
    boxes = [{**annotation(i, 1, 1, [GOOD]), "category_id": id_} for i, id_ in enumerate((9, 1, 4))]
    index = index_of(tmp_path, [image(1)], boxes, [{"id": 9, "name": "cat"}, wrong, {"id": 4, "name": "owl"}])
    assert [tuple(c) for c in index.categories] == [(9, "cat", ""), (4, "owl", "")]
    assert [a.category for a in index.annotations(0)] == [0, -1, 1]
    assert index.bad_categories.number == 1
    assert message in index.bad_categories.first[0]
    assert "instances_train.json: 1 category left out that can't be used; first " in index.warnings()[-1]


def test_many_categories_take_no_long_time(tmp_path: Path) -> None:
    many = [{"id": i // 2, "name": f"{i}"} for i in range(40_000)]
    index = index_of(tmp_path, [], [], many)
    assert (len(index.categories), index.bad_categories.number) == (20_000, 20_000)
    assert len(index.bad_categories.first) == 5


# What of an annotation is odd, is told, and the rest of it taken.


@pytest.mark.parametrize("id_", [None, "7", 1.5, True, 2**63, -(2**63), [1], math.nan], ids=str)
def test_an_annotation_without_an_id_is_drawn_and_told(tmp_path: Path, id_: Any) -> None:
    odd = {"id": id_, "image_id": 1, "category_id": 2, "segmentation": [GOOD]}
    index = index_of(tmp_path, [image(1)], [annotation(3, 1, 1, [GOOD]), odd])
    assert [(a.id, a.category, len(a.polygons)) for a in index.annotations(0)] == [(3, 0, 1), (-1, 1, 1)]
    assert index.warnings() == [
        "instances_train.json: 1 annotation without a whole number as 'id': drawn, and told as id -1; place 1"
    ]


def test_an_id_of_several_annotations_is_told(tmp_path: Path) -> None:
    index = index_of(tmp_path, [image(1)], [annotation(i, 1, 1, [GOOD]) for i in (7, 5, 7, 9, 5, 7)])
    assert [a.id for a in index.annotations(0)] == [7, 5, 7, 9, 5, 7]
    assert index.warnings() == [
        "instances_train.json: 2 annotation ids given to several annotations: all are drawn; first ids 5, 7"
    ]


def test_annotations_without_an_id_do_not_share_one(tmp_path: Path) -> None:
    index = index_of(tmp_path, [image(1)], [{**annotation(1, 1, 1, [GOOD]), "id": None} for _ in range(7)])
    (told,) = index.warnings()
    assert told.endswith(
        ": 7 annotations without a whole number as 'id': drawn, and told as id -1; first places 0, 1, 2, 3, 4"
    )
    assert not len(index.twice)


@pytest.mark.parametrize(
    ("said", "crowd", "odd"),
    [
        *[(0, 0, 0), (1, 1, 0), (True, 1, 0), (False, 0, 0), (1.0, 1, 0), (None, 0, 0)],
        *[(odd, 0, 1) for odd in (2, "1", -1, math.nan, 0.5, [1], 10**400, {"a": 1})],
    ],
    ids=str,
)
def test_a_crowd_is_zero_or_one(tmp_path: Path, said: Any, crowd: int, odd: int) -> None:
    index = index_of(tmp_path, [image(1)], [annotation(5, 1, 1, [GOOD], iscrowd=said)])
    assert [a.crowd for a in index.annotations(0)] == [bool(crowd)]
    assert index.odd_crowds.tolist() == [5] * odd
    assert ["not 0 or 1: taken as 0; id 5" in line for line in index.warnings()] == [True] * odd


@pytest.mark.parametrize(
    ("said", "box_"),
    [
        ([1, 2.5, 3, 4], [1, 2.5, 3, 4]),
        *[(odd, [math.nan] * 4) for odd in (None, [], [1, 2, 3], "1 2 3 4", [1, 2, 3, "4"], [1, 2, 3, 10**400])],
    ],
    ids=str,
)
def test_boxes_are_kept_as_said(tmp_path: Path, said: Any, box_: list[float]) -> None:
    index = index_of(tmp_path, [image(1)], [annotation(5, 1, 1, [GOOD], bbox=said)])
    np.testing.assert_array_equal(index.annotation_box, [box_])


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_the_lists_is_nothing(tmp_path: Path, seed: int) -> None:
    said = random_content(seed)
    path = tmp_path / "any.json"
    for keys in (("annotations", "categories", "images"), ("categories", "annotations", "images")):
        path.write_text(json.dumps({key: said[key] for key in keys}), encoding="utf-8")
        assert_index_holds(read_index(path), said)


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "x.json", [image(1)], [])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_index(path)) == 1
