"""What the levels say of thresholds and calibration is what counting pixels says."""

import numpy as np
import pytest
import sklearn.metrics
from score_pieces import blobs, noisy

from jaxseg.arrays import VOID
from jaxseg.scores.calibration import BINS, calibrate
from jaxseg.scores.levels import LEVELS, count_levels
from jaxseg.scores.sweep import STEPS, average_precision, best_threshold, sweep

EDGES = np.float32([0, 1 / LEVELS, 0.25, 0.5, 1 - 1 / LEVELS, 1, 1e-12, 1e-40, np.nextafter(np.float32(0.5), 1)])


def counted(seed: int = 0, void: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Levels, and the valid pixels' probabilities and truths they were counted from."""
    mask = blobs(seed, void=void)
    probability = noisy(mask, seed)
    probability.ravel()[: len(EDGES)] = EDGES
    valid = mask != VOID
    return count_levels(probability, mask > 0, valid), probability[valid], mask[valid] > 0


@pytest.mark.parametrize("seed", range(3))
def test_each_threshold_counts_the_pixels_above_it(seed: int) -> None:
    levels, probability, truth = counted(seed)
    found = sweep(levels)
    assert levels.sum() == found.pixels == len(truth)
    assert len(found.thresholds) == STEPS
    for place in (0, 1, 255, 256, 511, 512, 513, 1000, 1023):
        threshold = float(found.thresholds[place])
        prediction = probability > threshold
        expected = [(prediction & truth).sum(), truth.sum(), prediction.sum()]
        assert [int(counts[place]) for counts in found.overlap] == expected, threshold


def test_precision_recall_and_their_area_are_those_of_scikit_learn() -> None:
    levels, probability, truth = counted(1)
    found = sweep(levels)
    for place in (100, 512, 900):
        prediction = probability > found.thresholds[place]
        precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(truth, prediction, average="binary")
        overlap = found.overlap
        assert (overlap.precision[place], overlap.recall[place]) == pytest.approx((precision, recall), abs=1e-15)
        assert overlap.dice[place] == pytest.approx(f1)
        assert overlap.iou[place] == pytest.approx(sklearn.metrics.jaccard_score(truth, prediction))
    exact = sklearn.metrics.average_precision_score(truth, np.ceil(probability * LEVELS))
    assert average_precision(levels) == pytest.approx(exact, abs=1e-12)
    assert average_precision(levels) == pytest.approx(
        sklearn.metrics.average_precision_score(truth, probability), abs=1e-4
    )


def test_the_curve_is_that_of_scikit_learn() -> None:
    levels, probability, truth = counted(2)
    steps = np.ceil(probability * STEPS) / STEPS  # so that thresholds and scores are on one grid
    found = sweep(count_levels(steps.astype(np.float32), truth, np.ones_like(truth)))
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(truth, steps)  # these are `>=`
    place = (thresholds * STEPS).astype(int) - 1
    inside = place >= 0
    np.testing.assert_allclose(found.overlap.precision[place[inside]], precision[:-1][inside])
    np.testing.assert_allclose(found.overlap.recall[place[inside]], recall[:-1][inside])
    assert levels.shape == (2, LEVELS + 1)


def test_the_best_threshold_is_the_one_that_trying_all_finds() -> None:
    levels, probability, truth = counted(3)
    tried = [sklearn.metrics.jaccard_score(truth, probability > k / STEPS) for k in range(1, STEPS)]
    best = best_threshold(sweep(levels))
    assert best is not None
    assert best.iou == pytest.approx(max(tried))
    assert tried[round(best.threshold * STEPS) - 1] == max(tried)


def test_of_equal_thresholds_the_one_nearest_to_a_half_is_chosen() -> None:
    truth = np.array([True] * 5 + [False] * 5)
    valid = np.ones(10, bool)
    for low, high, expected in ((0.1, 0.9, 0.5), (0.6, 0.9, 615 / STEPS), (0.1, 0.3, 307 / STEPS)):
        probability = np.where(truth, high, low).astype(np.float32)
        best = best_threshold(sweep(count_levels(probability, truth, valid)))
        assert best == (expected, 1)
        np.testing.assert_array_equal(probability > best.threshold, truth)


@pytest.mark.parametrize(
    ("probability", "truth"),
    [(0.3, [True, False]), (0.0, [True, False]), (1.0, [True, False]), (0.7, [False, False]), (0.7, [True, True])],
)
def test_probabilities_that_tell_nothing_have_no_best_threshold(probability: float, truth: list[bool]) -> None:
    levels = count_levels(np.full(2, probability, np.float32), np.array(truth), np.ones(2, bool))
    assert best_threshold(sweep(levels)) is None
    assert best_threshold(sweep(np.zeros((2, LEVELS + 1), np.int64))) is None


def test_nothing_true_has_no_area() -> None:
    levels = count_levels(np.float32([0.2, 0.8]), np.zeros(2, bool), np.ones(2, bool))
    assert np.isnan(average_precision(levels))


def calibration_error(probability: np.ndarray, truth: np.ndarray) -> float:
    """Bin by bin, pixel by pixel."""
    bins = np.clip(np.ceil(probability.astype(np.float64) * BINS).astype(int) - 1, 0, BINS - 1)
    error = 0.0
    for place in range(BINS):
        chosen = bins == place
        if chosen.any():
            error += chosen.mean() * abs(truth[chosen].mean() - probability[chosen].mean(dtype=np.float64))
    return error


@pytest.mark.parametrize("seed", range(3))
def test_the_calibration_error_is_that_of_each_pixel(seed: int) -> None:
    levels, probability, truth = counted(seed)
    found = calibrate(levels)
    assert found.error == pytest.approx(calibration_error(probability, truth), abs=2**-17)
    assert found.pixels.sum() == len(truth)


def test_the_calibration_curve_is_that_of_scikit_learn() -> None:
    from sklearn.calibration import calibration_curve

    levels, probability, truth = counted(5)
    frequency, mean = calibration_curve(truth, probability, n_bins=BINS)
    found = calibrate(levels)
    np.testing.assert_allclose(found.frequency, frequency, atol=2e-3)  # theirs bins an edge to the right
    np.testing.assert_allclose(found.probability, mean, atol=2e-3)


def test_certain_and_right_is_calibrated_and_certain_and_wrong_is_not() -> None:
    truth, valid = np.array([True, False, True, False]), np.ones(4, bool)
    right = calibrate(count_levels(truth.astype(np.float32), truth, valid))
    wrong = calibrate(count_levels((~truth).astype(np.float32), truth, valid))
    assert right.error == pytest.approx(0, abs=2**-17)
    assert wrong.error == pytest.approx(1, abs=2**-17)
    assert np.isnan(right.frequency[1:-1]).all()
    assert np.isnan(calibrate(np.zeros((2, LEVELS + 1), np.int64)).error)


def test_void_counts_nowhere() -> None:
    mask = blobs(8, void=0.3)
    probability = noisy(mask, 8)
    valid = mask != VOID
    found = count_levels(probability, mask > 0, valid)
    changed = np.where(valid, probability, np.float32(1)).astype(np.float32)
    np.testing.assert_array_equal(found, count_levels(changed, mask > 0, valid))
    np.testing.assert_array_equal(found, count_levels(probability[valid], mask[valid] > 0, valid[valid]))
