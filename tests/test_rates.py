"""A rising learning rate, and what follows from its losses."""

import math

import numpy as np
import pytest

from jaxseg.rates import SMOOTHING, Sweep, has_diverged, rising, smoothed, valley


def fastai_valley(losses: list[float]) -> int:
    """As fastai 2.7 has it (callback/schedule.py, Apache-2.0), in loops."""
    n = len(losses)
    max_start, max_end = 0, 0
    lds = [1] * n
    for i in range(1, n):
        for j in range(i):
            if losses[i] < losses[j] and lds[i] < lds[j] + 1:
                lds[i] = lds[j] + 1
            if lds[max_end] < lds[i]:
                max_end = i
                max_start = max_end - lds[max_end]
    sections = (max_end - max_start) / 3
    return max_start + int(sections) + int(sections / 2)


@pytest.mark.parametrize("seed", range(20))
def test_the_valley_is_fastais(seed: int) -> None:
    losses = np.cumsum(np.random.default_rng(seed).normal(-0.1, 0.3, 60)) + 10
    assert valley(losses) == fastai_valley(losses.tolist())


def test_no_valley_where_nothing_falls() -> None:
    assert valley(np.linspace(1, 2, 50)) is None
    assert valley(np.linspace(1, 0.99, 50)) is None
    assert valley(np.zeros(0)) is None
    assert valley(np.array([3.0, 2.0, 1.0])) is None


def test_means_are_weighted_means() -> None:
    losses = np.random.default_rng(0).random(30)
    for last, found in enumerate(smoothed(losses), 1):
        weights = SMOOTHING ** np.arange(last)[::-1]
        assert found == pytest.approx(np.average(losses[:last], weights=weights))


def test_each_rate_is_the_same_number_of_times_the_one_before() -> None:
    rate = rising(1e-5, 10.0, 61)
    assert [float(rate(n)) for n in range(61)] == pytest.approx(np.geomspace(1e-5, 10, 61).tolist(), rel=1e-4)


def test_divergence_is_a_mean_far_above_the_lowest_or_no_number() -> None:
    assert not has_diverged([1.0])
    assert not has_diverged([1.0] * 20 + [3.0] * 5)
    assert has_diverged([1.0] * 20 + [30.0] * 5)
    assert has_diverged([1.0, math.nan])
    assert has_diverged([1.0, math.inf])


def sweep(losses: np.ndarray, *, diverged: bool = True) -> Sweep:
    return Sweep(np.geomspace(1e-6, 1, 100)[: len(losses)], losses, diverged)


@pytest.mark.parametrize("end", [5.0, math.nan])
def test_the_suggestion_lies_in_the_fall(end: float) -> None:
    """Flat up to 1e-4, falling to 1e-2, then lost."""
    place = np.log10(np.geomspace(1e-6, 1, 100))
    losses = np.interp(place, [-6, -4, -2, -1.5], [1.0, 1.0, 0.3, 0.6])[:75]
    losses[-1] = end
    found = sweep(losses)
    assert found.suggestion is not None
    assert 1e-4 < found.suggestion < 1e-2
    assert 1e-4 < found.steepest < found.lowest
    assert f"Learning rate {found.suggestion:.2g}" in found.why
    assert f"diverged at {found.rates[-1]:.2g}" in found.why


def test_nothing_is_suggested_where_nothing_is_learnt() -> None:
    flat = sweep(np.ones(100), diverged=False)
    assert (flat.suggestion, flat.steepest) == (None, None)
    assert "the loss never falls clearly, and it did not diverge up to 1." in flat.why
    for losses in (np.array([math.nan]), np.array([1.0, math.nan])):
        assert sweep(losses).suggestion is None
        assert "No rate is suggested" in sweep(losses).why
