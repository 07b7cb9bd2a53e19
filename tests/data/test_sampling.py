"""An epoch's images follow from seed and epoch; shares are exact, repetitions are as expected, nothing is left out."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import annotation, box, image, write_coco, write_pictures, write_root

from jaxseg.data.coco import DataError
from jaxseg.data.loader import steps_per_epoch, train_batches
from jaxseg.data.samples import Data, Samples, open_split
from jaxseg.data.sampling import Sampling, drawn, repeat_factors

SMALL: dict[str, Any] = {"height": 8, "width": 8, "threads": 0}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty training images, thirty for validation; a third each holds cat, dog, bird."""
    return write_root(tmp_path_factory.mktemp("sampling"), train2017=60, val2017=30)


def opened(root: Path, split: Any = "train", **settings: Any) -> Samples:
    return open_split(Data(root=root, **{**SMALL, "classes": ("cat",), **settings}), split)


def epochs(samples: Samples, batch_size: int, count: int, seed: int = 0, start: int = 0) -> np.ndarray:
    """The image ids that the loader gives, [epoch, sample]."""
    steps = steps_per_epoch(samples, batch_size)
    with train_batches(samples, batch_size, seed=seed, start=start * steps) as batches:
        ids = [loaded.image_ids for loaded in itertools.islice(batches, count * steps)]
    return np.reshape(ids, (count, steps * batch_size))


def holds_cat(ids: np.ndarray) -> np.ndarray:
    return ids % 3 == 1


# Draws.


@pytest.mark.parametrize("seed", range(20))
def test_a_draw_rounds_each_weight_down_or_up(seed: int) -> None:
    weights = rng(seed).uniform(0.05, 4, 50)
    for count in (1, 7, 50, 333):
        found = np.bincount(drawn(weights, count, rng(seed)), minlength=50)
        expected = count * weights / weights.sum()
        assert found.sum() == count
        assert (np.floor(expected - 1e-9) <= found).all()
        assert (found <= np.ceil(expected + 1e-9)).all()


def test_draws_are_unbiased_and_independent() -> None:
    weights = np.array([0.3, 1.0, 1.7, 2.5, 0.5])
    trials, count = 4000, 4
    found = np.array([np.bincount(drawn(weights, count, rng(t)), minlength=5) for t in range(trials)])
    expected = count * weights / weights.sum()
    assert np.abs(found.mean(0) - expected).max() < 4 * 0.5 / np.sqrt(trials)
    together = np.corrcoef(found[1:, 0], found[:-1, 0])[0, 1]
    assert abs(together) < 4 / np.sqrt(trials)


def test_equal_weights_repeat_nothing_before_all_have_come() -> None:
    for seed in range(20):
        assert len(set(drawn(np.ones(40), 13, rng(seed)).tolist())) == 13
        assert sorted(drawn(np.ones(40), 40, rng(seed)).tolist()) == list(range(40))
        assert np.bincount(drawn(np.ones(3), 10, rng(seed))).tolist() in ([3, 3, 4], [3, 4, 3], [4, 3, 3])
    assert drawn(np.ones(0), 0, rng()).tolist() == []


def test_repeat_factors_are_the_paper_s() -> None:
    """Ten images: kind 0 in nine of them, kind 1 in one, kind 2 (twice in that image) in one, one image empty."""
    owner = np.array([0, *range(9), 1, 1])
    kind = np.array([1, *[0] * 9, 2, 2])
    found = repeat_factors(owner, kind, 10, 0.4)
    assert np.allclose(found, [2, 2, *[1] * 8])  # sqrt(0.4 / 0.1)
    assert np.allclose(repeat_factors(owner, kind, 10, 1.0), [np.sqrt(10)] * 2 + [np.sqrt(1 / 0.9)] * 7 + [1])
    assert (repeat_factors(owner, kind, 10, 0.05) == 1).all()
    assert (repeat_factors(np.zeros(0, np.int64), np.zeros(0, np.int64), 3, 0.5) == 1).all()


# Epochs, through the loader.


def test_a_plain_epoch_is_each_image_once_in_an_order_of_its_own(root: Path) -> None:
    samples = opened(root, classes=None)
    seen = epochs(samples, 7, 6)
    assert seen.shape == (6, 56)
    assert all(len(set(epoch)) == 56 for epoch in seen.tolist())
    assert set(seen.ravel()) == set(range(1, 61))  # what one epoch leaves out, another shows
    assert len({tuple(epoch) for epoch in seen.tolist()}) == 6
    assert np.array_equal(epochs(samples, 7, 2, start=4), seen[4:])
    assert not np.array_equal(epochs(samples, 7, 1, seed=1)[0], seen[0])


def test_every_place_of_an_epoch_is_equally_likely(root: Path) -> None:
    sampling = opened(root, negatives=0.5).sampling
    absent = np.array([np.isin(sampling.epoch(0, epoch, 40), sampling.negatives) for epoch in range(2000)])
    assert np.abs(absent.mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(2000)


def test_without_settings_the_chosen_classes_alone_are_drawn(root: Path) -> None:
    assert opened(root).sampling.plain
    assert steps_per_epoch(opened(root), 3) == 20 // 3
    assert set(epochs(opened(root, classes=None), 4, 1)[0]) == set(range(1, 61))
    assert holds_cat(epochs(opened(root), 4, 3)).all()


@pytest.mark.parametrize("share", [0.1, 0.33, 0.75])
@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_the_share_of_negatives_is_exact_in_each_epoch(root: Path, share: float, batch_size: int) -> None:
    samples = opened(root, negatives=share)
    seen = epochs(samples, batch_size, 6)
    length = seen.shape[1]
    assert length == int(20 / (1 - share) / batch_size + 1e-9) * batch_size
    for epoch in seen:
        absent = epoch[~holds_cat(epoch)]
        assert len(absent) == round(share * length)
        present = epoch[holds_cat(epoch)]
        assert len(set(present)) == len(present) >= 20 - batch_size
        assert np.bincount(absent, minlength=61).max() == -(-len(absent) // 40)


def test_a_length_is_not_cut_by_rounding() -> None:
    """30 / (1 - 0.7) is a little less than 100 in floating point."""
    assert Sampling(np.arange(30), np.ones(30), np.arange(30, 200), 0.7).length(10) == 100


def test_no_negatives_are_none_at_all(tmp_path: Path) -> None:
    """Without chosen classes, images without any annotation take part unless `negatives` says otherwise."""
    images = [image(i) for i in range(1, 11)]
    write_pictures(tmp_path, images)
    json_path = write_coco(tmp_path / "x.json", images, [annotation(i, i, 1, [box(2, 2, 9, 9)]) for i in range(1, 9)])

    def ids(**settings: Any) -> list[int]:
        samples = open_split(Data(train_json=json_path, **SMALL, **settings), "train")
        return sorted(epochs(samples, 1, 1)[0].tolist())

    assert ids() == list(range(1, 11))
    assert ids(negatives=0.0) == list(range(1, 9))
    assert ids(negatives=0.2) == list(range(1, 11))


def test_every_image_is_seen_sooner_or_later(root: Path) -> None:
    seen = epochs(opened(root, negatives=0.3, balance=0.9), 4, 40)
    assert set(seen.ravel()) == set(range(1, 61))


def test_epochs_differ_and_repeat_with_the_seed(root: Path) -> None:
    samples = opened(root, negatives=0.3)
    seen = epochs(samples, 2, 4)
    assert len({tuple(epoch) for epoch in seen}) == 4
    assert len({frozenset(epoch[~holds_cat(epoch)]) for epoch in seen}) == 4
    assert np.array_equal(seen, epochs(opened(root, negatives=0.3), 2, 4))
    assert np.array_equal(seen[2:], epochs(samples, 2, 2, start=2))  # a run that goes on knows its step alone
    assert not np.array_equal(seen, epochs(samples, 2, 4, seed=1))
    assert set(seen[0]) != set(epochs(samples, 2, 1, seed=1)[0])
    assert np.array_equal(seen, epochs(opened(root, negatives=0.3, threads=3), 2, 4))


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty images: all hold a cat, five of them a dog too, one a bird."""
    images = [image(i) for i in range(50)]
    folder = tmp_path_factory.mktemp("uneven")
    write_pictures(folder, images)
    ids = itertools.count()
    held = [(i, 1) for i in range(50)] + [(i, 2) for i in range(5)] + [(5, 3)]
    return write_coco(folder / "x.json", images, [annotation(next(ids), i, k, [box(2, 2, 9, 9)]) for i, k in held])


@pytest.mark.parametrize("mode", ["binary", "multiclass"])
def test_rare_classes_come_as_often_as_their_factor_says(uneven: Path, mode: Any) -> None:
    samples = open_split(Data(train_json=uneven, mode=mode, balance=0.5, **SMALL), "train")
    factors = np.array([np.sqrt(0.5 / 0.1)] * 5 + [np.sqrt(0.5 / 0.02)] + [1] * 44)
    assert np.allclose(samples.sampling.factors, factors)
    length = samples.sampling.length(4)
    assert length == int(factors.sum()) // 4 * 4 == 60
    drawn_ids = np.array([samples.sampling.epoch(0, epoch, length) for epoch in range(2000)])
    counts = np.apply_along_axis(np.bincount, 1, drawn_ids, minlength=50)
    expected = factors * length / factors.sum()
    assert np.abs(counts.mean(0) - expected).max() < 4 * 0.5 / np.sqrt(2000)
    assert (counts.max(0) - counts.min(0) <= 1).all()


def test_balance_counts_chosen_classes_alone(uneven: Path) -> None:
    data = Data(train_json=uneven, classes=("cat", "dog"), balance=0.5, **SMALL)
    assert np.allclose(open_split(data, "train").sampling.factors, [np.sqrt(5)] * 5 + [1] * 45)


def test_balance_counts_the_split_s_images_alone(uneven: Path) -> None:
    samples = open_split(Data(train_json=uneven, balance=1.0, val_fraction=0.4, **SMALL), "train")
    ids = samples.index.image_id[samples.positions]
    dogs, birds = (ids < 5), (ids == 5)
    assert len(ids) == 30
    assert 0 < dogs.sum() < 5
    expected = np.where(dogs, np.sqrt(30 / dogs.sum()), np.where(birds, np.sqrt(30), 1))
    assert np.allclose(samples.sampling.factors, expected)


def test_both_at_once(uneven: Path) -> None:
    data = Data(train_json=uneven, classes=("dog", "bird"), negatives=0.4, balance=1.0, **SMALL)
    sampling = open_split(data, "train").sampling
    assert np.allclose(sampling.factors, [np.sqrt(6 / 5)] * 5 + [np.sqrt(6)])
    length = sampling.length(1)
    assert length == int(sampling.factors.sum() / 0.6)
    for epoch in range(20):
        found = sampling.epoch(7, epoch, length)
        assert (found >= 6).sum() == round(0.4 * length)
        assert (found == 5).sum() >= 2


# Validation.


def test_validation_holds_the_share_too_and_always_the_same(root: Path) -> None:
    samples = opened(root, "val", negatives=0.2)
    ids = samples.index.image_id[samples.positions]
    assert len(samples) == 10 / 0.8 // 1
    assert holds_cat(ids).sum() == 10
    assert ids.tolist() == sorted(ids.tolist())
    again = opened(root, "val", negatives=0.2)
    assert np.array_equal(samples.positions, again.positions)
    assert not np.array_equal(samples.positions, opened(root, "val", negatives=0.2, split_seed=1).positions)
    assert len(opened(root, "val")) == 10
    assert len(opened(root, "val", negatives=0.99)) == 30  # all there are


# Mistakes.


@pytest.mark.parametrize("share", [1.0, 1.5, -0.1, float("nan")])
def test_a_share_is_below_one(root: Path, share: float) -> None:
    with pytest.raises(DataError, match=r"data\.negatives is .*: expected a share of at least 0 and below 1"):
        opened(root, negatives=share)


@pytest.mark.parametrize("balance", [1.5, -0.1, float("nan")])
def test_a_balance_is_a_share(root: Path, balance: float) -> None:
    with pytest.raises(DataError, match=r"data\.balance is .*: expected a share from 0 to 1"):
        opened(root, balance=balance)


def test_negatives_must_be_at_hand(root: Path, tmp_path: Path) -> None:
    said = r"data\.negatives is 0\.1, but each of the 60 training images of .* holds one of the classes cat, dog, bird"
    with pytest.raises(DataError, match=said):
        opened(root, classes=None, negatives=0.1)
    assert len(opened(root, "val", classes=None, negatives=0.1)) == 30


def test_a_batch_is_at_most_an_epoch(root: Path) -> None:
    samples = opened(root, negatives=0.5)
    assert steps_per_epoch(samples, 40) == 1
    with pytest.raises(DataError, match="batch_size 41 is more than the 40 training images: take at most that"):
        steps_per_epoch(samples, 41)


def test_a_large_epoch_is_drawn_at_once() -> None:
    """COCO's size: an epoch's draw must not delay its first batch."""
    images = np.arange(118_287)
    sampling = Sampling(images[:100_000], rng().uniform(1, 3, 100_000), images[100_000:], 0.1)
    length = sampling.length(32)
    found = sampling.epoch(0, 3, length)
    assert len(found) == length
    assert (found >= 100_000).sum() == round(0.1 * length)
    assert np.array_equal(found, sampling.epoch(0, 3, length))
