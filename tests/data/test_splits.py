"""Splits: files of their own, or seeded shares of one that are disjoint, complete, independent of the classes."""

import dataclasses
from pathlib import Path

import pytest
from coco_files import annotation, box, image, write_coco, write_pictures, write_root
from test_samples import SMALL, ids, refuse

from jaxseg.data.samples import Data, open_split


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_root(tmp_path / "coco", train2017=10, val2017=4)


@pytest.mark.parametrize(("val", "test"), [(0.3, 0.0), (0.25, 0.25), (0.0, 0.5), (0.45, 0.45)])
def test_fractions_are_disjoint_and_complete(tmp_path: Path, val: float, test: float) -> None:
    write_root(tmp_path, train2017=40)
    data = Data(root=tmp_path, val_fraction=val, test_fraction=test)
    shares = {"train": 1 - val - test, "val": val, "test": test}
    parts = {split: ids(open_split(data, split)) for split, share in shares.items() if share}
    assert sorted(i for part in parts.values() for i in part) == list(range(1, 41))
    for split, part in parts.items():
        assert abs(len(part) - 40 * shares[split]) <= 1
        assert part == ids(open_split(data, split)) == sorted(part)
        assert part != ids(open_split(dataclasses.replace(data, split_seed=1), split))


def test_a_split_does_not_depend_on_the_classes(tmp_path: Path) -> None:
    write_root(tmp_path, train2017=40)
    data = Data(root=tmp_path, val_fraction=0.3)
    for split in ("train", "val"):
        all_of_it = set(ids(open_split(data, split)))
        for remainder, name in ((1, "cat"), (2, "dog"), (0, "bird")):
            found = ids(open_split(dataclasses.replace(data, classes=(name,)), split))
            assert set(found) == {i for i in all_of_it if i % 3 == remainder}


def test_a_fraction_needs_no_validation_file(tmp_path: Path) -> None:
    write_root(tmp_path, train2017=10)
    assert "--data.val-fraction 0.2" in refuse(Data(root=tmp_path), "val")
    assert len(open_split(Data(root=tmp_path, val_fraction=0.2), "val")) == 2


def test_a_json_by_itself_can_be_split(tmp_path: Path) -> None:
    """As Roboflow exports it: the JSON beside its images."""
    images = [image(i) for i in range(1, 11)]
    write_pictures(tmp_path / "train", images)
    outlines = [annotation(i, i, 1, [box(2, 2, 20, 20)]) for i in range(1, 11)]
    json = write_coco(tmp_path / "train" / "_annotations.coco.json", images, outlines)
    data = Data(train_json=json, val_fraction=0.2, test_fraction=0.1, **SMALL)
    parts = {split: open_split(data, split) for split in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [7, 2, 1]
    assert parts["val"][0]["mask"].any()
    assert not data.uses_sample


def test_each_split_can_be_named(tmp_path: Path) -> None:
    root = write_root(tmp_path, train2017=3, val2017=4, test2017=5)
    named = {f"{s}_json": root / "annotations" / f"instances_{s}2017.json" for s in ("train", "val", "test")}
    folders = {f"{s}_images": root / "images" / f"{s}2017" for s in ("train", "val", "test")}
    for data in (Data(root=root, **SMALL), Data(**named, **SMALL), Data(**named, **folders, **SMALL)):
        assert [len(open_split(data, split)) for split in ("train", "val", "test")] == [3, 4, 5]
        assert open_split(data, "test")[4]["weight"] == 1
    other = Data(root=root, val_json=named["test_json"], **SMALL)
    assert len(open_split(other, "val")) == 5
    assert open_split(other, "val")[0]["weight"] == 1


def test_the_images_of_a_root_can_lie_elsewhere(tmp_path: Path) -> None:
    root = write_root(tmp_path / "coco", train2017=3)
    (root / "images" / "train2017").rename(tmp_path / "pictures")
    assert "No images folder" in refuse(Data(root=root))
    assert open_split(Data(root=root, train_images=tmp_path / "pictures", **SMALL), "train")[0]["weight"] == 1


# Mistakes.


@pytest.mark.parametrize("shares", [(-0.1, 0.0), (0.5, 0.5), (1.0, 0.0), (0.0, 2.0), (float("nan"), 0.0)], ids=str)
def test_shares_leave_something_to_train_on(root: Path, shares: tuple[float, float]) -> None:
    message = refuse(Data(root=root, val_fraction=shares[0], test_fraction=shares[1]))
    assert "must be at least 0 and leave images to train on" in message


def test_a_split_is_said_once(root: Path) -> None:
    json = root / "annotations" / "instances_val2017.json"
    for split in ("train", "val"):
        message = refuse(Data(root=root, val_json=json, val_fraction=0.2), split)
        assert message == "data.val_json and data.val_fraction both say what the val split is: give one."


def test_a_split_that_is_not_named_is_said(root: Path) -> None:
    json = root / "annotations" / "instances_train2017.json"
    message = refuse(Data(train_json=json), "val")
    assert "data.val_json is not given: name it, or data.root, or a share of the training file" in message
    assert refuse(Data(val_json=json)) == "data.train_json is not given: name it, or data.root."
    assert refuse(Data(test_json=json)) == "data.train_json is not given: name it, or data.root."
    assert refuse(Data(train_images=root)) == "data.train_json is not given: name it, or data.root."
