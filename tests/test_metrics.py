"""Scores are exact counts, added; every way to split the work gives the same ones."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from jaxseg.arrays import VOID
from jaxseg.metrics import Totals, confusion, count_pairs, decide, foreground, per_class, predict_classes, scores


def counted(truth, prediction, valid, classes: int) -> np.ndarray:
    """The confusion, pixel by pixel."""
    table = np.zeros((classes, classes), np.int64)
    for t, p, v in zip(np.ravel(truth), np.ravel(prediction), np.ravel(valid), strict=True):
        if v and t < classes and p < classes:
            table[t, p] += 1
    return table


def count(truth, prediction, valid=None, classes: int = 2) -> np.ndarray:
    valid = np.asarray(truth) != VOID if valid is None else valid
    arrays = (jnp.asarray(a, dtype) for a, dtype in ((truth, "uint8"), (prediction, "uint8"), (valid, bool)))
    return np.asarray(confusion(*arrays, classes))


def random_masks(seed: int, classes: int, size: tuple[int, ...] = (3, 17, 23)):
    rng = np.random.default_rng(seed)
    truth, prediction = rng.integers(0, classes, (2, *size)).astype(np.uint8)
    truth[rng.random(size) < 0.1] = VOID
    return truth, prediction, (rng.random(size) < 0.8) & (truth != VOID)


@pytest.mark.parametrize("classes", [2, 3, 81, 255])
def test_confusion_is_what_counting_gives(classes):
    truth, prediction, valid = random_masks(classes, classes)
    np.testing.assert_array_equal(count(truth, prediction, valid, classes), counted(truth, prediction, valid, classes))


@pytest.mark.parametrize("classes", [2, 3, 81, 254])
def test_the_host_counts_what_the_device_counts(classes):
    truth, prediction, _ = random_masks(classes, classes)
    np.testing.assert_array_equal(count_pairs(truth, prediction, classes), count(truth, prediction, classes=classes))


@pytest.mark.parametrize("classes", [2, 5])
def test_the_scores_are_those_of_scikit_learn(classes):
    truth, prediction, valid = random_masks(classes, classes)
    table = count(truth, prediction, valid, classes)
    ours, true, predicted = per_class(table), truth[valid], prediction[valid]
    np.testing.assert_array_equal(table, sklearn.metrics.confusion_matrix(true, predicted))
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(true, predicted)
    np.testing.assert_allclose(ours.precision, precision)
    np.testing.assert_allclose(ours.recall, recall)
    np.testing.assert_allclose(ours.dice, f1)
    np.testing.assert_allclose(ours.iou, sklearn.metrics.jaccard_score(true, predicted, average=None))
    assert float(foreground(table).iou) == sklearn.metrics.jaccard_score(true > 0, predicted > 0)
    assert scores(table).pixel_accuracy == sklearn.metrics.accuracy_score(true, predicted)


def test_precision_and_recall_of_what_was_not_there_are_nan():
    found = per_class(np.asarray([[5, 2, 0], [0, 0, 0], [1, 0, 0]]))  # class 1 is invented, class 2 missed
    np.testing.assert_array_equal(found.precision, [5 / 6, 0, np.nan])
    np.testing.assert_array_equal(found.recall, [5 / 7, np.nan, 0])


def test_confusion_of_a_mask_made_by_hand():
    truth = [[0, 0, 1, 1], [2, 2, 2, VOID]]
    prediction = [[0, 1, 1, 1], [2, 0, 1, 2]]
    assert count(truth, prediction, classes=3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 1, 1]]


def test_labels_out_of_range_count_nowhere():
    assert count([[0, 5, 1]], [[0, 1, 4]], classes=2).tolist() == [[1, 0], [0, 0]]


def test_every_valid_pixel_is_counted_once():
    truth, prediction, valid = random_masks(0, 4)
    assert count(truth, prediction, valid, 4).sum() == valid.sum()


def test_a_perfect_mask_scores_one():
    truth, _, _ = random_masks(1, 4)
    found = scores(count(truth, truth, classes=4))
    assert (found.iou, found.dice, found.pixel_accuracy, found.class_iou) == (1, 1, 1, (1, 1, 1, 1))
    assert found.predicted_share == found.true_share


def test_scores_of_counts_made_by_hand():
    # true positives 6, false positives 3, false negatives 1, true negatives 10
    found = scores(np.asarray([[10, 3], [1, 6]]))
    assert found.iou == 6 / 10
    assert found.dice == 12 / 16
    assert found.pixel_accuracy == 16 / 20
    assert (found.predicted_share, found.true_share) == (9 / 20, 7 / 20)
    assert found.class_iou == (10 / 14, 6 / 10)


def test_foreground_is_every_class_but_the_background():
    """Told apart wrongly, the foreground is still found; merging the classes into one gives the same scores."""
    truth, prediction, _ = random_masks(2, 5)
    merged = [np.where(mask == VOID, VOID, np.minimum(mask, 1)) for mask in (truth, prediction)]
    apart, together = scores(count(truth, prediction, classes=5)), scores(count(*merged))
    for name in ("iou", "dice", "predicted_share", "true_share"):
        assert getattr(apart, name) == getattr(together, name)


def test_dice_and_iou_say_the_same():
    found = scores(count(*random_masks(3, 3), classes=3))
    assert found.dice == pytest.approx(2 * found.iou / (1 + found.iou))


def test_what_was_not_there_is_nan_and_what_was_missed_is_zero():
    empty = np.zeros((4, 4), np.uint8)
    background = scores(count(empty, empty, classes=3))
    assert math.isnan(background.iou)
    assert math.isnan(background.dice)
    assert background.class_iou[0] == 1
    assert all(map(math.isnan, background.class_iou[1:]))
    invented = scores(count(empty, empty + 1, classes=3))
    assert (invented.iou, invented.dice, invented.class_iou[1]) == (0, 0, 0)
    assert math.isnan(invented.class_iou[2])
    assert all(map(math.isnan, scores(np.zeros((2, 2), int))[:5]))


@pytest.mark.parametrize("seed", range(5))
def test_batches_added_in_any_split_give_the_same_integers(seed):
    truth, prediction, valid = random_masks(seed, 4, (12, 9, 8))
    whole = count(truth, prediction, valid, 4)
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.choice(np.arange(1, 12), 4, replace=False))
    totals = Totals.empty(4)
    for part in np.split(rng.permutation(12), cuts):
        table = count(truth[part], prediction[part], valid[part], 4)
        totals = totals.add(0.0, int(valid[part].sum()), table)
    np.testing.assert_array_equal(totals.confusion, whole)
    assert totals.confusion.dtype == np.int64
    assert totals.pixels == whole.sum()
    assert totals.scores == scores(whole)


def test_the_mean_loss_is_over_pixels_and_not_a_mean_of_means():
    totals = Totals.empty(2).add(1.0, 300, np.zeros((2, 2), int)).add(4.0, 100, np.zeros((2, 2), int))
    assert totals.mean_loss == 1.75


def test_a_batch_without_valid_pixels_changes_no_total():
    some = Totals.empty(2).add(0.5, 10, np.asarray([[4, 3], [2, 1]]))
    same = some.add(0.0, 0, np.zeros((2, 2), np.int32))
    assert (same.mean_loss, same.pixels, same.scores) == (some.mean_loss, some.pixels, some.scores)
    assert math.isnan(Totals.empty(2).mean_loss)


def test_totals_do_not_overflow_where_a_device_integer_would():
    totals = Totals.empty(2)
    for _ in range(5):
        totals = totals.add(1.0, 2**30, np.full((2, 2), 2**28, np.int32))
    assert totals.pixels == 5 * 2**30
    assert totals.confusion.sum() == 5 * 2**30
    assert totals.scores.pixel_accuracy == 0.5


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_one_logit_is_foreground_where_its_sigmoid_is_above_the_threshold(threshold):
    logits = np.random.default_rng(0).normal(scale=3, size=(2, 8, 8, 1)).astype(np.float32)
    probability = 1 / (1 + np.exp(-logits[..., 0].astype(np.float64)))
    found = predict_classes(jnp.asarray(logits), threshold)
    np.testing.assert_array_equal(found, probability > threshold)
    assert found.dtype == jnp.uint8


def test_of_several_logits_the_largest_wins():
    logits = np.random.default_rng(1).normal(size=(2, 8, 8, 5)).astype(np.float32)
    np.testing.assert_array_equal(predict_classes(jnp.asarray(logits)), logits.argmax(-1))


@pytest.mark.parametrize("outputs", [1, 4])
def test_the_host_decides_as_the_device_does(outputs):
    logits = np.random.default_rng(2).normal(scale=2, size=(2, 8, 9, outputs)).astype(np.float32)
    some = jnp.asarray(logits)
    probabilities = np.asarray(1 / (1 + jnp.exp(-some)) if outputs == 1 else jax.nn.softmax(some))
    for threshold in (0.25, 0.7):
        np.testing.assert_array_equal(decide(probabilities, threshold), predict_classes(some, threshold))
