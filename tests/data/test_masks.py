"""Masks are those of the original's rule, written here a second time; each other rule does what it says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import annotation, box, compressed, content, image, rle, write_coco
from PIL import Image
from pycocotools import mask as coco_mask

from jaxseg.data.classes import choose_classes
from jaxseg.data.coco import DataError, build, read_index
from jaxseg.data.images import read_image
from jaxseg.data.masks import MaskRules, draw_mask, reduce_mask
from jaxseg.data.samples import Data, open_split

FULL = (30, 40)
FAITHFUL = MaskRules("max_index", "foreground", "background", "full")
CLASS_OF = {1: 1, 2: 2, 3: 3}  # of cat, dog, bird by their ids


def drawn(
    annotations: list[dict],
    full: tuple[int, int] = FULL,
    target: tuple[int, int] | None = None,
    classes: tuple[str, ...] = ("cat", "dog", "bird"),
    **rules: Any,
) -> np.ndarray:
    index = build(content([image(1, *full)], annotations), Path("x.json"), "")
    lookup = choose_classes(index, classes, "multiclass").lookup(index)
    return draw_mask(index.annotations(0), lookup, FAITHFUL._replace(**rules), full, target or full)


def region(rows: slice, columns: slice, full: tuple[int, int] = FULL) -> np.ndarray:
    mask = np.zeros(full, bool)
    mask[rows, columns] = True
    return mask


def cat(mask: np.ndarray, id_: int = 1, **more: Any) -> dict:
    return annotation(id_, 1, 1, rle(mask), **more)


def dog(mask: np.ndarray, id_: int = 2, **more: Any) -> dict:
    return annotation(id_, 1, 2, rle(mask), **more)


# The original's rule, independently: each annotation at full size, resized, at least one half, merged by maximum.


def full_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """As pycocotools' annToMask."""
    if isinstance(segmentation, list):
        encoded = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        encoded = coco_mask.frPyObjects(segmentation, height, width)
    else:
        encoded = segmentation
    return coco_mask.decode(encoded)


def interpolation(stored: int, wanted: int) -> np.ndarray:
    """The matrix of linear interpolation between the middles of pixels, constant beyond the outermost."""
    middles = (np.arange(wanted) + 0.5) * stored / wanted - 0.5
    distance = np.abs(np.clip(middles, 0, stored - 1)[:, None] - np.arange(stored))
    return np.maximum(0, 1 - distance)


def original(
    annotations: list[dict], full: tuple[int, int], target: tuple[int, int], class_of: dict[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The mask, and where it is decided: where no coverage is one half but for rounding."""
    down, across = interpolation(full[0], target[0]), interpolation(full[1], target[1])
    mask, decided = np.zeros(target, np.uint8), np.ones(target, bool)
    for entry in annotations:
        if label := class_of.get(entry["category_id"], 0):
            coverage = down @ full_mask(entry["segmentation"], *full) @ across.T
            mask = np.maximum(mask, np.where(coverage >= 0.5 - 1e-6, label, 0)).astype(np.uint8)
            decided &= np.abs(coverage - 0.5) > 1e-6
    return mask, decided


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


SIZES = [((30, 40), (30, 40)), ((61, 83), (20, 16)), ((33, 97), (48, 32)), ((50, 20), (64, 96)), ((90, 7), (16, 16))]


@pytest.mark.parametrize(("full", "target"), SIZES, ids=str)
@pytest.mark.parametrize("seed", range(6))
def test_full_is_the_originals_rule(full: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    annotations = random_annotations(np.random.default_rng(seed), *full)
    expected, decided = original(annotations, full, target, CLASS_OF)
    found = drawn(annotations, full, target)
    assert (found.shape, found.dtype) == (target, np.uint8)
    assert np.array_equal(found[decided], expected[decided])
    assert decided.mean() > 0.5


def test_the_interpolation_is_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch, to compare with")
    mask = np.random.default_rng(0).random((41, 67)) < 0.5
    image = torch.tensor(mask, dtype=torch.float64)[None, None]
    theirs = torch.nn.functional.interpolate(image, (32, 96), mode="bilinear", align_corners=False)[0, 0].numpy()
    decided = np.abs(theirs - 0.5) > 1e-6
    assert np.allclose(interpolation(41, 32) @ mask @ interpolation(67, 96).T, theirs, atol=1e-12)
    assert np.array_equal(reduce_mask(mask, 32, 96)[decided], (theirs >= 0.5)[decided])


def iou(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(((ours > 0) & (theirs > 0)).sum() / ((ours > 0) | (theirs > 0)).sum())


@pytest.mark.parametrize(
    ("classes", "images"), [(None, 75), (("laptop", "tv", "cell phone"), 50)], ids=["all", "recipe"]
)
def test_scaled_outlines_are_the_originals_masks_on_real_photographs(
    coco_dev: Path, classes: tuple[str, ...] | None, images: int
) -> None:
    """Foreground IoU; what is drawn at full size differs nowhere."""
    path = coco_dev / "annotations" / "instances_val2017.json"
    said, index = json.loads(path.read_text()), read_index(path)
    table = choose_classes(index, classes, "multiclass")
    class_of = {c["id"]: table.drawn.index(c["name"]) + 1 for c in said["categories"] if c["name"] in table.drawn}
    scores = []
    for position, entry in enumerate(said["images"]):
        own = [a for a in said["annotations"] if a["image_id"] == entry["id"] and a["category_id"] in class_of]
        sizes = (entry["height"], entry["width"]), (224, 224)
        expected, decided = original(own, *sizes, class_of)
        held, lookup = list(index.annotations(position)), table.lookup(index)
        exact = draw_mask(held, lookup, FAITHFUL, *sizes)
        assert np.array_equal(exact[decided], expected[decided])
        if expected.any():
            scores.append(iou(draw_mask(held, lookup, FAITHFUL._replace(rasterize="target"), *sizes), expected))
    print(f"IoU with the original's masks on {len(scores)} images: mean {np.mean(scores):.4f}, worst {min(scores):.4f}")
    assert len(scores) >= images
    assert np.mean(scores) >= 0.98
    assert min(scores) >= 0.9


# Where things lie.


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


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_the_image_and_its_mask_keep_together(tmp_path: Path, factor: int) -> None:
    """The mask, sent as a picture through the image's own path, comes out as the mask."""
    full, target = (37, 53), (37 * factor, 53 * factor)
    rows, columns = np.mgrid[: full[0], : full[1]]
    mask = np.hypot(rows - 12, (columns - 35) * 0.7) < 9
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    picture = read_image(tmp_path / "mask.png", stored=full, target=target, channels=1)[..., 0]
    decided = np.abs(picture - 127.5) > 1.5  # the picture holds whole greys
    assert np.array_equal(drawn([cat(mask)], full, target)[decided], (picture > 127)[decided])


@pytest.mark.parametrize("full", [(1001, 777), (1023, 1535)], ids=str)
def test_reduced_jpegs_keep_to_their_masks(tmp_path: Path, full: tuple[int, int]) -> None:
    """JPEGs decoded at an eighth are rounded up to whole pixels: the picture must not shift for that."""
    target = (96, 64)
    rows, columns = np.mgrid[: full[0], : full[1]]
    mask = np.hypot((rows / full[0] - 0.8) * 3, (columns / full[1] - 0.75) * 2) < 0.4
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.jpg", quality=95)
    picture = read_image(tmp_path / "mask.jpg", stored=full, target=target, channels=1)[..., 0]
    ours = drawn([cat(mask)], full, target)
    for axis, size in enumerate(target):
        middles = (np.arange(full[axis]) + 0.5) * size / full[axis]
        true = np.average(middles, weights=mask.sum(1 - axis))
        by_image, by_mask = (
            np.average(np.arange(size) + 0.5, weights=a.sum(1 - axis, dtype=float)) for a in (picture, ours)
        )
        assert by_image == pytest.approx(true, abs=0.02)
        assert by_mask == pytest.approx(true, abs=0.1)


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
    annotations = random_annotations(np.random.default_rng(5), *FULL)
    one = [{**a, "category_id": 1} for a in annotations]
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
    with pytest.raises(DataError, match="1 annotations have a category that the file does not list, the first ids: 8"):
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
    mask = draw_mask(index.annotations(0), lookup, FAITHFUL, FULL, FULL)
    assert np.array_equal(mask, (LEFT | RIGHT | SMALL).astype(np.uint8))


@pytest.mark.parametrize("rasterize", ["full", "target"])
def test_an_outline_may_leave_the_image(rasterize: str) -> None:
    mask = drawn([annotation(1, 1, 1, [box(-100, -50, 110, 60)])], target=(60, 80), rasterize=rasterize)
    assert np.array_equal(mask > 0, region(slice(0, 20), slice(0, 20), (60, 80)))
