"""Intervals by drawing images anew are those of a plain loop, and of the theory where there is one."""

import numpy as np
import pytest

from jaxseg.metrics import share
from jaxseg.scores import bootstrap as module
from jaxseg.scores.bootstrap import RESAMPLES, bootstrap


def rates(sums: np.ndarray) -> np.ndarray:
    return np.stack([share(sums[:, 0], sums[:, 1]), share(sums[:, 2], sums[:, 1])], axis=1)


def counts(images: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 1000, (images, 3)) + np.array([0, 1000, 0])


def test_it_is_a_plain_loop_over_the_same_draws() -> None:
    table = counts()
    draws = np.random.default_rng(7).multinomial(40, np.full(40, 1 / 40), size=RESAMPLES)
    looped = np.array([rates(np.repeat(table, weight, axis=0).sum(0, keepdims=True))[0] for weight in draws])
    expected = np.percentile(looped, [2.5, 97.5], axis=0)
    np.testing.assert_allclose(bootstrap(table, rates, seed=7), expected, rtol=1e-12)


def test_it_is_as_wide_as_the_theory_of_a_mean_says() -> None:
    values = np.random.default_rng(1).normal(size=400)
    found = bootstrap(np.stack([values, np.ones(400)], 1), lambda sums: sums[:, :1] / sums[:, 1:])
    half = 1.96 * values.std() / np.sqrt(400)
    np.testing.assert_allclose(found[:, 0], [values.mean() - half, values.mean() + half], atol=0.1 * half)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    """200 data sets of 50 images whose true rate is 0.3: a 90 % interval misses it about 20 times."""
    rng = np.random.default_rng(2)
    missed = 0
    for seed in range(200):
        hits = rng.binomial(100, rng.beta(3, 7, 50))
        low, high = bootstrap(
            np.stack([hits, np.full(50, 100)], 1), lambda s: s[:, :1] / s[:, 1:], seed=seed, confidence=0.9
        )
        missed += not low[0] <= 0.3 <= high[0]
    assert 10 <= missed <= 36


def test_the_same_seed_gives_the_same_interval_however_it_is_cut_up(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, other = bootstrap(counts(), rates), bootstrap(counts(), rates, seed=1)
    monkeypatch.setattr(module, "CHUNK", 40 * 7)
    np.testing.assert_array_equal(bootstrap(counts(), rates), whole)
    assert not np.array_equal(whole, other)


def test_scores_that_are_not_there_are_nan_and_rare_ones_come_from_the_draws_that_have_them() -> None:
    table = np.zeros((30, 3), np.int64)
    assert np.isnan(bootstrap(table, rates)).all()
    table[0] = (1, 2, 0)  # in about two thirds of the draws
    np.testing.assert_array_equal(bootstrap(table, rates), [[0.5, 0], [0.5, 0]])


def test_one_image_has_no_spread() -> None:
    np.testing.assert_array_equal(bootstrap(np.array([[1, 4, 2]]), rates), [[0.25, 0.5]] * 2)
