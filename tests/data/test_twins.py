"""Images that two splits share are found by their path and by their bytes."""

import json
import os
import shutil
from pathlib import Path

import pytest
from data.coco_files import write_root

import jaxseg
from jaxseg.data import twins as module
from jaxseg.data.samples import open_split
from jaxseg.data.twins import twins


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_root(tmp_path / "coco", train=5, val=3)


def found(root: Path, **settings: object) -> list[str]:
    data = jaxseg.Data(root=root, **settings)
    return twins(open_split(data, "train"), open_split(data, "val"))


def picture(root: Path, split: str, number: int) -> Path:
    return root / "images" / split / f"{number}.png"


def test_splits_of_different_images_share_none(root: Path, coco_dev: Path) -> None:
    assert found(root) == []
    assert found(coco_dev) == []


def test_equal_bytes_under_another_name_are_found(root: Path) -> None:
    shutil.copy(picture(root, "train", 2), picture(root, "val", 7))
    assert found(root) == ["7.png"]


@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_one_other_byte_makes_another_image(root: Path, place: float) -> None:
    """At the start, in the middle, and at the end."""
    content = bytearray(picture(root, "train", 2).read_bytes() + bytes(20_000))  # more than is glimpsed
    picture(root, "train", 2).write_bytes(content)
    content[round(place * (len(content) - 1))] ^= 1
    picture(root, "val", 7).write_bytes(content)
    assert found(root) == []


def test_the_same_file_is_found_however_many_images_there_are(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 0)
    annotations = root / "annotations" / "instances_train.json"
    content = json.loads(annotations.read_text())
    content["images"] = content["images"][1:4]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in (2, 3, 4)]
    (root / "annotations" / "some.json").write_text(json.dumps(content))
    names = found(
        root, val_json=root / "annotations" / "some.json", val_images=root / "images" / "train" / ".." / "train"
    )
    assert names == ["2.png", "3.png", "4.png"]


def test_a_fraction_shares_nothing_unless_files_are_copies(root: Path) -> None:
    settings = {"train_json": root / "annotations" / "instances_train.json", "val_fraction": 0.4}
    assert found(root, **settings) == []
    for number in range(2, 6):
        shutil.copy(picture(root, "train", 1), picture(root, "train", number))
    assert len(found(root, **settings)) == 2


def test_missing_files_are_nobodys_twins(root: Path) -> None:
    picture(root, "train", 1).unlink()
    picture(root, "val", 6).unlink()
    assert found(root) == []


def test_a_pipe_is_not_waited_for_and_empty_files_are_no_twins(root: Path) -> None:
    for split, pipe, empty in (("train", 1, 2), ("val", 6, 7)):
        picture(root, split, pipe).unlink()
        os.mkfifo(picture(root, split, pipe))
        picture(root, split, empty).write_bytes(b"")
    assert found(root) == []
