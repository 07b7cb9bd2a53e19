"""A batch follows from samples, seed and step alone; evaluation sees every image once."""

import dataclasses
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import write_root

from jaxseg.data.coco import DataError
from jaxseg.data.loader import Epochs, Loaded, eval_batches, steps_per_epoch, train_batches
from jaxseg.data.samples import Data, KnownFault, Samples, open_split
from jaxseg.data.sampling import Sampling

SMALL: dict[str, Any] = {"height": 16, "width": 24, "classes": None}
IMAGES = 13


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_root(tmp_path / "coco", train2017=IMAGES, val2017=5)


def opened(root: Path, split: Any = "train", **settings: Any) -> Samples:
    return open_split(Data(root=root, **{**SMALL, "threads": 2, **settings}), split)


def take(samples: Samples, count: int, batch_size: int = 4, seed: int = 0, start: int = 0) -> list[Loaded]:
    with train_batches(samples, batch_size, seed=seed, start=start) as batches:
        return list(itertools.islice(batches, count))


def ids(batches: list[Loaded]) -> list[list[int]]:
    return [loaded.image_ids.tolist() for loaded in batches]


def assert_same(ours: list[Loaded], theirs: list[Loaded]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.faults == other.faults
        for a, b in zip((*one.batch, one.image_ids), (*other.batch, other.image_ids), strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert np.array_equal(a, b)


# Training.


def test_a_batch_holds_the_samples_of_its_ids(root: Path) -> None:
    samples = opened(root, mode="multiclass")
    place_of = {int(samples.index.image_id[p]): place for place, p in enumerate(samples.positions)}
    for loaded in take(samples, 4):
        assert (loaded.batch.image.shape, loaded.batch.image.dtype) == ((4, 16, 24, 3), np.uint8)
        assert (loaded.batch.mask.shape, loaded.batch.mask.dtype) == ((4, 16, 24), np.uint8)
        assert (loaded.batch.weight.tolist(), loaded.batch.weight.dtype) == ([1.0] * 4, np.float32)
        assert (loaded.image_ids.dtype, loaded.faults) == (np.int64, {})
        for place, id_ in enumerate(loaded.image_ids.tolist()):
            sample = samples[place_of[id_]]
            assert np.array_equal(loaded.batch.image[place], sample["image"])
            assert np.array_equal(loaded.batch.mask[place], sample["mask"])


def test_batches_do_not_depend_on_threads(root: Path) -> None:
    batches = [take(opened(root, threads=threads), 8) for threads in (0, 1, 3)]
    assert_same(batches[0], batches[1])
    assert_same(batches[0], batches[2])


@pytest.mark.parametrize("start", [1, 3, 7, 10_000_000])
def test_batches_do_not_depend_on_where_one_starts(root: Path, start: int) -> None:
    samples = opened(root)
    if start < 10:
        assert_same(take(samples, 10)[start:], take(samples, 10 - start, start=start))
    else:
        assert_same(take(samples, 3, start=start)[1:], take(samples, 2, start=start + 1))


def test_each_epoch_is_another_permutation(root: Path) -> None:
    samples = opened(root)
    steps = steps_per_epoch(samples, 4)
    assert steps == 3
    batches = ids(take(samples, 5 * steps))
    epochs = np.reshape(batches, (5, 12)).tolist()
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == 12
        assert set(epoch) <= set(range(1, IMAGES + 1))
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert len({frozenset(epoch) for epoch in epochs}) > 1  # not the same image left out each time


def test_the_seed_makes_the_order(root: Path) -> None:
    samples = opened(root)
    assert ids(take(samples, 3, seed=1)) == ids(take(samples, 3, seed=1)) != ids(take(samples, 3, seed=2))
    with pytest.raises(DataError, match="seed is -1: expected at least 0"):
        take(samples, 1, seed=-1)


def test_a_batch_is_at_most_the_split(root: Path) -> None:
    samples = opened(root)
    assert [steps_per_epoch(samples, size) for size in (1, 6, 7, 13)] == [13, 2, 1, 1]
    with pytest.raises(DataError, match="batch_size 14 is more than the 13 training images: take at most that"):
        steps_per_epoch(samples, 14)
    with pytest.raises(DataError, match="batch_size is 0: take at least 1"):
        steps_per_epoch(samples, 0)


# Evaluation.


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 8])
@pytest.mark.parametrize("threads", [0, 2])
def test_evaluation_sees_every_image_once(root: Path, batch_size: int, threads: int) -> None:
    samples = opened(root, "val", threads=threads)
    with eval_batches(samples, batch_size) as batches:
        seen = list(batches)
    assert len(seen) == -(-5 // batch_size)
    assert all(loaded.batch.image.shape == (batch_size, 16, 24, 3) for loaded in seen)
    found = np.concatenate([loaded.image_ids for loaded in seen])
    weights = np.concatenate([loaded.batch.weight for loaded in seen])
    assert found[:5].tolist() == [14, 15, 16, 17, 18]
    assert (found[5:] == -1).all()
    assert weights.tolist() == [1.0] * 5 + [0.0] * (len(found) - 5)


def test_padding_is_not_image_zero(tmp_path: Path) -> None:
    """An image may have the id 0; it counts, and padding does not."""
    path = write_root(tmp_path, val2017=1) / "annotations" / "instances_val2017.json"
    said = json.loads(path.read_text())
    said["images"][0]["id"] = said["annotations"][0]["image_id"] = 0
    path.write_text(json.dumps(said))
    with eval_batches(opened(tmp_path, "val"), 3) as batches:
        (loaded,) = batches
    assert loaded.image_ids.tolist() == [0, -1, -1]
    assert loaded.batch.weight.tolist() == [1, 0, 0]


# Faults.


def damage(root: Path) -> Path:
    path = root / "images" / "train2017" / "3.png"
    path.write_bytes(path.read_bytes()[:300])
    return path


@pytest.mark.parametrize("threads", [0, 2])
def test_an_unreadable_image_ends_the_loading_with_its_name(root: Path, threads: int) -> None:
    path = damage(root)
    with pytest.raises(DataError, match=r"^Image 3: ") as caught:
        take(opened(root, threads=threads), 4)
    assert str(path) in str(caught.value)


def test_a_skipped_image_changes_nothing_else(root: Path) -> None:
    whole = take(opened(root), 9)
    path = damage(root)
    samples = opened(root, on_error="skip")
    for expected, loaded in zip(whole, take(samples, 9), strict=True):
        bad = expected.image_ids == 3
        assert np.array_equal(loaded.image_ids, expected.image_ids)
        assert np.array_equal(loaded.batch.image[~bad], expected.batch.image[~bad])
        assert np.array_equal(loaded.batch.mask[~bad], expected.batch.mask[~bad])
        assert np.array_equal(loaded.batch.weight, np.where(bad, 0, 1))
        assert (loaded.batch.mask[bad] == 255).all()
        assert list(loaded.faults) == [3] * bad.sum()
        assert all(text.startswith(f"{path} can't be read as an image: ") for text in loaded.faults.values())


def test_known_faults_give_the_batches_of_the_first_time(root: Path) -> None:
    path, kept = root / "images" / "train2017" / "3.png", (root / "images" / "train2017" / "3.png").read_bytes()
    damage(root)
    first = take(opened(root, on_error="skip"), 6)
    noted = {id_: KnownFault(0, text) for loaded in first for id_, text in loaded.faults.items()}
    path.write_bytes(kept)
    samples = dataclasses.replace(opened(root, on_error="skip"), known_faults=noted)
    assert_same(take(samples, 6), first)


def test_faults_are_told_in_evaluation_too(root: Path) -> None:
    (root / "images" / "val2017" / "16.png").unlink()
    with eval_batches(opened(root, "val", on_error="skip"), 4) as batches:
        first, second = batches
    assert list(first.faults) == [16]
    assert first.batch.weight.tolist() == [1, 1, 0, 1]
    assert second.faults == {}


def test_an_epoch_is_drawn_once_and_few_are_kept() -> None:
    """Also where threads go to and fro over the border of two."""
    asked: list[int] = []

    class Counted(Sampling):
        def epoch(self, seed: int, epoch: int, length: int) -> np.ndarray:
            asked.append(epoch)
            return np.arange(length) + 100 * epoch + seed

    epochs = Epochs(Counted(np.arange(6), np.ones(6), np.arange(0), None), 0, 3, 2)
    given = [epochs(step).tolist() for step in (0, 1, 2, 1, 3, 4, 3, 5)]
    assert given == [[100 * (step // 2) + 3 * (step % 2) + n for n in range(3)] for step in (0, 1, 2, 1, 3, 4, 3, 5)]
    assert asked == [0, 1, 2]
    for step in range(6, 40):
        epochs(step)
        assert len(epochs.drawn) <= 3


def test_a_batch_waits_for_all_its_parts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at, calls = Samples.at, itertools.count()

    def slow(self: Samples, position: int, step: int, window: Any = None) -> Any:
        time.sleep(0.02 * next(calls))  # no part is as quick as the first sample
        return at(self, position, step)

    expected = take(opened(root), 1, batch_size=8)
    monkeypatch.setattr(Samples, "at", slow)
    assert_same(take(opened(root), 1, batch_size=8), expected)
