"""Of a segmentation, what pycocotools can draw comes through; nothing else ever reaches it, and that is told."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import annotation, box, compressed, image, rle, runs, write_coco
from pycocotools import mask as coco_mask

from jaxseg.data import segmentations
from jaxseg.data.coco import CocoIndex, read_index
from jaxseg.data.segmentations import Segmentations, decompress

GOOD = box(1, 2, 10, 5)


def segmentation_index(tmp_path: Path, *segmentations: Any) -> CocoIndex:
    """One image of 30 x 40, with an annotation for each segmentation: ids 1, 2, ..."""
    annotations = [{**annotation(i, 7), "segmentation": s} for i, s in enumerate(segmentations, 1)]
    return read_index(write_coco(tmp_path / "instances_train.json", [image(7)], annotations))


def run_lengths(segmentation: Any, height: int, width: int) -> np.ndarray | None:
    """The runs that would be drawn in an image of that size; None where there are none."""
    growing = Segmentations()
    growing.add(segmentation)
    found = growing.drawable(np.array([0]), np.array([[height, width]]))
    assert found.faulty.tolist() == [not len(found.runs)]
    return found.runs if len(found.runs) else None


def is_outline(polygon: Any, height: int, width: int) -> bool:
    """True where the polygon would be drawn in an image of that size."""
    growing = Segmentations()
    growing.add([polygon])
    found = growing.drawable(np.array([0]), np.array([[height, width]]))
    assert found.faulty.tolist() == [not len(found.points)]
    assert len(found.points) == 0 or (found.points / found.point_scale).ravel().tolist() == polygon
    return len(found.points) > 0


# Run lengths.


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 13), (64, 64), (301, 257)], ids=str)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_compressed_runs_are_those_of_pycocotools(shape: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(0).random(shape) < share
    blocks = np.kron(mask, np.ones((3, 5)))[: shape[0], : shape[1]]  # longer runs
    for truth in (mask, blocks):
        found = run_lengths({"counts": compressed(truth), "size": list(shape)}, *shape)
        assert found is not None
        assert found.tolist() == runs(truth)


def test_long_runs_are_exact() -> None:
    mask = np.zeros((5000, 4000), np.uint8)
    mask[4321:, 1234] = mask[17, 3999] = 1
    found = decompress(compressed(mask))
    assert found is not None
    assert found.tolist() == runs(mask)


def test_no_string_of_characters_gives_wrong_runs() -> None:
    """What is not an RLE of the very image is refused; it would make pycocotools write outside its memory."""
    random = np.random.default_rng(0)
    accepted = 0
    for _ in range(3000):
        text = "".join(map(chr, random.integers(40, 125, random.integers(0, 12))))
        found = run_lengths({"counts": text, "size": [6, 7]}, 6, 7)
        assert found is None or (found.min() >= 0 and found.sum() == 42)
        accepted += found is not None
    assert accepted < 30
    for text in ("", "é", "\ud800", "o" * 40, "P" * 400, "0", "\x00"):
        assert run_lengths({"counts": text, "size": [6, 7]}, 6, 7) is None


@pytest.mark.parametrize(
    "segmentation",
    [
        {"counts": [600, 599], "size": [30, 40]},
        {"counts": [1201], "size": [30, 40]},
        {"counts": [1300, -100], "size": [30, 40]},
        {"counts": [600, -100, 700], "size": [30, 40]},
        {"counts": [600.0, 600.0], "size": [30, 40]},
        {"counts": [600, "600"], "size": [30, 40]},
        {"counts": [], "size": [30, 40]},
        {"counts": [1200, 2**70], "size": [30, 40]},
        {"counts": [1200], "size": [40, 30]},
        {"counts": [1200], "size": [20, 60]},
        {"counts": [1200], "size": 1200},
        {"counts": [1200]},
        {"counts": None, "size": [30, 40]},
        {"counts": {"a": 1}, "size": [30, 40]},
        {"counts": compressed(np.eye(29, 40)), "size": [30, 40]},
        {"counts": compressed(np.eye(30, 40))[:-1], "size": [30, 40]},
        {"size": [30, 40]},
        {},
    ],
    ids=str,
)
def test_runs_that_do_not_fill_the_image_are_left_out_and_told(tmp_path: Path, segmentation: dict) -> None:
    index = segmentation_index(tmp_path, [GOOD], segmentation, rle(np.eye(30, 40)))
    good, bad, other = index.annotations(0)
    assert (bad.polygons, bad.rle) == ([], None)
    assert len(good.polygons) == 1
    assert other.rle is not None
    assert index.bad_annotations().tolist() == [2]
    assert "1 annotation with a part left out that can't be drawn" in index.warnings()[0]
    assert index.warnings()[0].endswith("; id 2")


# Polygons.


@pytest.mark.parametrize(
    "polygon",
    [
        [0, 0, 10, 0, 10, math.nan],
        [0, 0, math.inf, 0, 10, 10],
        [0, -math.inf, 10, 0, 10, 10],
        [0, 0, 1e8, 0, 10, 10],
        [0, 0, 10, -1e8, 10, 10],
        [0, 0, 10, 10**400, 10, 10],
        [0, 0, 10, 10],
        [0, 0],
        [],
        [0, 0, 10, 0, 10, 10, 5],
        ["0", "0", "10", "0", "10", "10"],
        [[0, 0], [10, 0], [10, 10]],
        [[0, 0], [10, 0], [10, 10], [0, 1], [0, 2], [0, 3]],
        [0, 0, 10, None, 10, 10],
        [0, 0, 10, True, 10, 10],
        "0 0 10 0 10 10",
        {"x": 1},
        3.0,
        None,
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_polygon_is_left_out_and_told_and_its_neighbours_stay(tmp_path: Path, polygon: Any) -> None:
    index = segmentation_index(tmp_path, [GOOD, polygon, box(20, 20, 5, 5)], [GOOD])
    first, second = index.annotations(0)
    assert [p.tolist() for p in first.polygons] == [GOOD, box(20, 20, 5, 5)]
    assert [p.tolist() for p in second.polygons] == [GOOD]
    assert index.bad_annotations().tolist() == [1]
    assert "instances_train.json: 1 annotation with a part left out that can't be drawn" in index.warnings()[0]


def test_an_outline_may_leave_the_image_by_a_little() -> None:
    assert is_outline([-3, -3, 43, -3, 43.5, 33], 30, 40)
    assert is_outline([-400, -300, 400, -300, 400, 300], 30, 40)
    assert not is_outline([-400, -300, 400, -300, 400.5, 300], 30, 40)
    assert not is_outline([-400, -300, 400, -300, 400, 300.5], 30, 40)
    assert not is_outline([-400.5, -300, 400, -300, 400, 300], 30, 40)


def test_far_is_measured_by_each_side() -> None:
    """In a flat image a small number is far: scaled to the target size it would take pycocotools minutes."""
    assert is_outline([0, 0, 90000, 0, 90000, 1], 1, 100000)
    assert not is_outline([0, 0, 90000, 0, 90000, 11], 1, 100000)


def test_no_number_is_more_than_pycocotools_counts_to() -> None:
    """It multiplies by five, in 32 bits; and it takes memory for every pixel around an outline."""
    wide = 178_000_000
    far = float(segmentations.FARTHEST)
    assert is_outline([far, 0, far, 0, far, 1], 1, wide)
    assert not is_outline([far + 1, 0, far, 0, far, 1], 1, wide)
    long = float(segmentations.LONGEST)
    assert is_outline([0, 0, long / 2 - 2, 0, long / 2 - 2, 0], 1, wide)
    assert not is_outline([0, 0, long / 2 - 1, 0, long / 2 - 1, 0], 1, wide)
    assert not is_outline([0, 0, 9, 0] * (segmentations.LONGEST // 18 + 1), 10, 10)  # to and fro
    assert not is_outline([1, 1] * (segmentations.LONGEST + 1), 10, 10)


def test_outlines_are_judged_one_by_one_in_whatever_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many annotations of many outlines, good and bad, in several images, taken in another order."""
    random = np.random.default_rng(0)
    growing, expected = Segmentations(), []
    size = random.integers(5, 50, (60, 2))
    for height, width in size.tolist():
        good = [(random.random((n, 2)) * [width, height]).ravel().tolist() for n in random.integers(3, 9, 4)]
        said = [polygon for polygon in good if random.random() < 0.6]
        bad: list = [[0, 0, 10.5 * width, 0, 1, 1], [0, 0, 1, 10.5 * height, 1, 1], [1, 2], [math.nan] * 6, None]
        mixed = said + [bad[i] for i in random.integers(0, 5, random.integers(0, 3))]
        mixed = [mixed[i] for i in random.permutation(len(mixed))]
        growing.add(mixed)
        expected.append(([p for p in mixed if p in said], len(mixed) > len(said), not mixed))
    order = random.permutation(60)[:50]
    for block in (1, 7, 30, 10_000):
        monkeypatch.setattr(segmentations, "BLOCK", block)
        found = growing.drawable(order, size)
        for n, a in enumerate(order):
            bounds = found.point_offsets[found.outline_offsets[n] : found.outline_offsets[n + 1] + 1].tolist()
            outlines = [found.points[b:e].ravel().tolist() for b, e in pairwise(bounds)]
            assert (outlines, found.faulty[n], found.empty[n]) == expected[a]


@pytest.mark.parametrize("decimals", range(5))
def test_points_come_back_exactly(decimals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept as hundredths where they are that, as in COCO; pycocotools would round another double to another pixel."""
    monkeypatch.setattr(segmentations, "BLOCK", 1000)
    size = [1000, 2000]
    growing = Segmentations()
    polygon = (np.random.default_rng(decimals).random((5000, 2)) * size[::-1]).round(decimals).ravel().tolist()
    growing.add([polygon])
    found = growing.drawable(np.array([0]), np.array([size]))
    assert (found.point_scale, found.points.dtype) == ((100, np.int32) if decimals < 3 else (1, np.float64))
    assert (found.points / found.point_scale).ravel().tolist() == polygon


@pytest.mark.parametrize("odd", [0.005, 1 / 3, 21474836.48, -21474836.5, 1e-300, 1e300, math.nan, math.inf], ids=str)
def test_one_point_that_is_no_hundredth_keeps_all_as_they_are(odd: float) -> None:
    points = np.array([[1.25, 3.75], [2, odd]])
    kept, scale = segmentations.compact(points)
    assert scale == 1
    np.testing.assert_array_equal(kept, points)


def test_garbage_never_reaches_pycocotools() -> None:
    """Whatever a polygon holds, one that passes has finite numbers near the image."""
    random = np.random.default_rng(0)
    odd = [math.nan, math.inf, -math.inf, 1e300, 10**30, "1", None, [1], True, {}, -1e9, 401.0, -0.0, 5e-324]
    passed = 0
    for _ in range(2000):
        polygon = (random.random(random.integers(4, 12)) * 40).tolist()
        for _ in range(random.integers(0, 3)):
            polygon[random.integers(len(polygon))] = odd[random.integers(len(odd))]
        if is_outline(polygon, 30, 40):
            passed += 1
            assert len(polygon) % 2 == 0
            assert np.isfinite(polygon).all()
            assert np.abs(polygon).max() <= 401
            coco_mask.frPyObjects([polygon], 30, 40)
    assert passed > 100
