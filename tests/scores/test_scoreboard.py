"""Each score has its name, its value and its interval."""

import math

import numpy as np
import pytest
from score_pieces import blobs

from jaxseg.metrics import Overlap, count_pairs, foreground, per_class, scores
from jaxseg.scores.boundary import count_boundaries
from jaxseg.scores.scoreboard import Counts, intervals, regions

CLASSES = 4


def counted(images: int = 12, absent: int = 3) -> tuple[Counts, np.ndarray, np.ndarray]:
    """Counts of images without one class, the first of them without any; their confusion and boundaries added."""
    tables, edges = [], []
    for seed in range(images):
        truth, prediction = (np.where((m := blobs(s, CLASSES)) == absent, 0, m) for s in (seed, seed + 100))
        truth = truth * (seed > 0)
        tables.append(count_pairs(truth.astype(np.uint8), prediction.astype(np.uint8), CLASSES))
        edges.append(count_boundaries(truth.astype(np.uint8), prediction.astype(np.uint8), CLASSES))
    return Counts(np.stack([*map(regions, tables)]), np.stack(edges)), sum(tables), sum(edges)


def test_each_score_is_that_of_the_counts_added_up() -> None:
    counts, table, edges = counted()
    found = intervals(counts)
    whole, classes, simple = foreground(table), per_class(table), scores(table)
    for name in ("iou", "dice", "precision", "recall"):
        assert found[name].value == float(getattr(whole, name))
        for label in range(CLASSES):
            np.testing.assert_equal(found[f"{name}/{label}"].value, float(getattr(classes, name)[label]))
    assert (found["iou"].value, found["dice"].value) == (simple.iou, simple.dice)
    assert found["pixel_accuracy"].value == simple.pixel_accuracy
    assert found["boundary_iou"].value == float(Overlap(*edges).iou[0])
    assert found["boundary_iou/2"].value == float(Overlap(*edges).iou[2])
    assert found["class_iou"].value == pytest.approx(np.mean(classes.iou[1:3]))
    assert found["class_dice"].value == pytest.approx(np.mean(classes.dice[1:3]))
    each = [foreground(t) for t in map(table_of, counts.pixels)]
    assert found["image_iou"].value == pytest.approx(np.mean([float(o.iou) for o in each[1:]]))
    assert found["image_dice"].value == pytest.approx(np.mean([float(o.dice) for o in each[1:]]))


def table_of(pixels: np.ndarray) -> np.ndarray:
    """A confusion of two classes with the same foreground."""
    both, truth, predicted = pixels[:, 0]
    return np.array([[0, predicted - both], [truth - both, both]])


def test_each_interval_holds_its_score_and_is_the_same_again() -> None:
    counts, _, _ = counted()
    found, again = intervals(counts), intervals(counts)
    for name, score in found.items():
        if name.endswith("/3"):
            assert all(map(math.isnan, score)), name
        else:
            assert score.low <= score.value <= score.high, name
            assert 0 < score.high - score.low < 0.5, name
            assert score == again[name]
    assert intervals(counts, seed=1) != found


def test_images_that_say_the_same_have_intervals_without_width() -> None:
    counts, _, _ = counted(3)
    same = Counts(np.repeat(counts.pixels[1:2], 20, axis=0), np.repeat(counts.boundary[1:2], 20, axis=0))
    for name, score in intervals(same).items():
        if not math.isnan(score.value):
            assert score.low == pytest.approx(score.value), name
            assert score.high == pytest.approx(score.value), name


def test_nothing_scored_is_nan() -> None:
    empty = Counts(np.zeros((3, 3, 3), np.int64), np.zeros((3, 3, 2), np.int64))
    assert all(math.isnan(number) for score in intervals(empty).values() for number in score)
