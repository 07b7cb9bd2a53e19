"""Differences on the same images, against a bootstrap written out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from written_runs import write_run, write_scores

import jaxseg
from jaxseg.comparing.entry import read_entry
from jaxseg.comparing.paired import difference
from jaxseg.comparing.recipes import Recipe, by_recipe


def recipe(folder: Path, *counts: np.ndarray, batch_size: int = 2) -> Recipe:
    entries = []
    for seed, of_run in enumerate(counts):
        run = write_run(folder / str(seed), replace(jaxseg.Config(epochs=3), seed=seed, batch_size=batch_size))
        write_scores(run, of_run)
        entries.append(read_entry(run, f"{folder.name}-{seed}"))
    (found,) = by_recipe(entries)
    return found


def iou(counts: np.ndarray) -> float:
    return counts[:, 0].sum() / counts.sum()


def test_a_difference_is_that_of_the_same_draws(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    hard = draw.integers(1, 400, (40, 1))  # an image's difficulty, which both share
    theirs = np.concatenate([draw.integers(200, 400, (40, 1)), hard, hard], axis=1)
    ours = theirs - [0, 1, 0] * draw.integers(0, 2, (40, 1))
    a, b = recipe(tmp_path / "a", ours), recipe(tmp_path / "b", theirs, batch_size=3)
    found = difference(a, b, "val")
    assert found is not None
    assert found.value == pytest.approx(iou(ours) - iou(theirs))
    again = np.random.default_rng(99)
    drawn = [again.integers(0, 40, 40) for _ in range(4000)]
    expected = np.percentile([iou(ours[d]) - iou(theirs[d]) for d in drawn], [2.5, 97.5])
    np.testing.assert_allclose([found.low, found.high], expected, rtol=0.15)
    assert found.low > 0, "small, but the same on nearly all images"
    assert b.first.scored["val"].scores["iou"].low < a.first.scored["val"].scores["iou"].value - 0.02
    assert difference(b, a, "val") == pytest.approx((-found.value, -found.high, -found.low))


def test_the_counts_of_several_runs_are_added(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(0, 50, (3, 12, 3))
    both, one = recipe(tmp_path / "both", *counts[:2]), recipe(tmp_path / "one", counts[2], batch_size=3)
    found = difference(both, one, "val")
    assert found is not None
    assert found.value == pytest.approx(iou(counts[0] + counts[1]) - iou(counts[2]))


def test_other_images_have_no_difference(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(0, 50, (12, 3))
    a, b = recipe(tmp_path / "a", counts), recipe(tmp_path / "b", counts[:11], batch_size=3)
    assert difference(a, b, "val") is None
    assert difference(a, a, "test") is None
    assert difference(recipe(tmp_path / "c", counts, counts[:11]), a, "val") is None
