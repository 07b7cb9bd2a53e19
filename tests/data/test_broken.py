"""With `on_error="skip"` a folder full of faults gives the same batches every time, however they are loaded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken_root import write_broken_root
from test_loader import assert_same, ids, take

import jaxseg
from jaxseg.data.loader import Loaded, eval_batches
from jaxseg.data.samples import Data, Samples, open_split
from jaxseg.run import read_lines

STEPS = 21  # three epochs of 31 images


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str]]:
    root = tmp_path_factory.mktemp("broken") / "coco"
    return root, write_broken_root(root)


def opened(root: Path, split: Any = "train", **settings: Any) -> Samples:
    data = Data(root=root, height=16, width=24, on_error="skip", **{"threads": 0, **settings})
    return open_split(data, split)


def evaluated(samples: Samples) -> list[Loaded]:
    with eval_batches(samples, 4) as batches:
        return list(batches)


def test_each_fault_is_one_and_nothing_else_is(broken: tuple[Path, dict[int, str]]) -> None:
    root, faults = broken
    seen, told = set(), {}
    for loaded in take(opened(root), STEPS):
        bad = loaded.batch.weight == 0
        assert set(loaded.faults) == set(loaded.image_ids[bad].tolist())
        assert (loaded.batch.mask[bad] == 255).all()
        assert not loaded.batch.image[bad].any()
        seen |= set(loaded.image_ids.tolist())
        told |= loaded.faults
    assert seen == {*range(1, 31), 900}
    assert set(told) == {id_ for id_ in faults if id_ <= 30 or id_ >= 900}
    assert all(text for text in told.values())


@pytest.mark.parametrize("cache", ["none", "disk"])
def test_repetition_and_threads_change_nothing(broken: tuple[Path, dict[int, str]], cache: str, tmp_path: Path) -> None:
    root, _ = broken
    first = take(opened(root), STEPS)
    for threads in (0, 1, 3):
        again = take(opened(root, threads=threads, cache=cache, cache_folder=tmp_path), STEPS)
        assert_same(again, first)
    held_out = evaluated(opened(root, "val"))
    assert_same(evaluated(opened(root, "val", threads=3, cache=cache, cache_folder=tmp_path)), held_out)
    assert sorted(id_ for batch in ids(held_out) for id_ in batch if id_ >= 0) == [*range(31, 41), 900]


def test_worker_processes_change_nothing(broken: tuple[Path, dict[int, str]], tmp_path: Path, long: bool) -> None:
    if not long:
        pytest.skip("starts worker processes: --long")
    root, _ = broken
    expected = take(opened(root), STEPS)
    for workers, cache in ((1, "none"), (2, "none"), (3, "disk"), (2, "disk")):
        assert_same(take(opened(root, workers=workers, cache=cache, cache_folder=tmp_path), STEPS), expected)


def test_annotations_that_can_t_be_drawn_spoil_no_image(broken: tuple[Path, dict[int, str]]) -> None:
    root, _ = broken
    samples = opened(root)
    bad = set(samples.index.bad_annotations().tolist())
    assert {5000, 5001, 5002, 5007, 5008, 5009, 5010} <= bad
    for sample in (samples[place] for place in range(len(samples))):
        if sample["weight"]:
            assert set(sample["mask"].ravel().tolist()) == {0, 1}, sample["image_id"]


def test_a_run_over_it_ends_well_and_repeats(broken: tuple[Path, dict[int, str]], tmp_path: Path) -> None:
    root, faults = broken
    said = []
    for name, loading in (("one", {"threads": 0}), ("two", {"threads": 3, "cache": "disk", "cache_folder": tmp_path})):
        data = Data(root=root, classes=("cat",), negatives=0.5, height=16, width=24, on_error="skip", **loading)
        model, logs = jaxseg.UNet(widths=(4, 8), norm="batch"), jaxseg.Logs(every=2, pictures_every=9)
        config = jaxseg.Config(data, model, optimizer=jaxseg.Adam(1e-3), epochs=3, batch_size=4, logs=logs)
        folder = jaxseg.train.fit(config, tmp_path / name)
        assert folder.final_weights.exists()
        found = read_lines(folder.faults)
        assert {fault["image_id"] for fault in found} <= set(faults)
        assert len(found) == len({(fault["split"], fault["image_id"]) for fault in found}) > 10
        losses = [record["train_loss"] for record in read_lines(folder.metrics) if "train_loss" in record]
        assert len(losses) == 3
        assert np.isfinite(losses).all()
        said.append((folder.metrics.read_bytes(), folder.faults.read_bytes()))
    assert said[0] == said[1]
