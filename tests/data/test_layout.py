"""Files are found in COCO's layout or where they are said to lie; if not, the message says what to do."""

from pathlib import Path

import pytest
from coco_files import write_coco, write_root

from jaxseg.data.coco import DataError
from jaxseg.data.layout import Files, given, in_coco_root


def refuse(root: Path, split: str = "train", images: Path | None = None) -> str:
    with pytest.raises(DataError) as caught:
        in_coco_root(root, images, split)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["train2017", "train", "train-v2"])
@pytest.mark.parametrize("parent", ["images", "."])
def test_cocos_layout(tmp_path: Path, ending: str, parent: str) -> None:
    json = write_coco(tmp_path / "annotations" / f"instances_{ending}.json", [], [])
    (tmp_path / parent / ending).mkdir(parents=True)
    assert in_coco_root(tmp_path, None, "train") == Files(json, tmp_path / parent / ending)


def test_each_split_has_its_own(tmp_path: Path) -> None:
    write_root(tmp_path, train2017=1, val2017=1, test2017=1)
    for split in ("train", "val", "test"):
        files = in_coco_root(tmp_path, None, split)
        assert (files.json.name, files.images.name) == (f"instances_{split}2017.json", f"{split}2017")


def test_a_missing_root_says_what_to_download_and_where_to_put_it(tmp_path: Path) -> None:
    message = refuse(tmp_path / "coco")
    assert f"data.root {tmp_path / 'coco'} is not a folder" in message
    assert "download train2017.zip, val2017.zip and annotations_trainval2017.zip from cocodataset.org" in message
    for part in ("annotations/instances_train2017.json", "images/train2017/*.jpg", "images/val2017/*.jpg"):
        assert f"\n  {tmp_path}/coco/{part}\n" in message
    assert "Without --data.root, the embedded sample is used." in message


def test_a_missing_json_says_how_to_do_without(tmp_path: Path) -> None:
    message = refuse(tmp_path, "val")
    assert f"{tmp_path / 'annotations'} holds no instances_val*.json" in message
    assert "--data.val-json and --data.val-images" in message
    assert "--data.val-fraction 0.2" in message
    assert "cocodataset.org" in message
    assert "fraction" not in refuse(tmp_path, "train")  # there is no train_fraction


def test_several_jsons_are_listed(tmp_path: Path) -> None:
    write_root(tmp_path, train2017=1, train2014=1)
    message = refuse(tmp_path)
    assert "holds instances_train2014.json, instances_train2017.json: choose one by --data.train-json" in message
    chosen = tmp_path / "annotations" / "instances_train2014.json"  # doing so works
    assert given(chosen, None, "train") == Files(chosen, tmp_path / "images" / "train2014")


def test_a_missing_images_folder_is_named(tmp_path: Path) -> None:
    json = write_coco(tmp_path / "annotations" / "instances_val2017.json", [], [])
    message = refuse(tmp_path, "val")
    assert f"expected {tmp_path / 'images' / 'val2017'} or {tmp_path / 'val2017'}" in message
    assert "Unpack val2017.zip there, or name the folder by --data.val-images" in message
    (tmp_path / "elsewhere").mkdir()  # doing so works
    assert in_coco_root(tmp_path, tmp_path / "elsewhere", "val") == Files(json, tmp_path / "elsewhere")
    message = refuse(tmp_path, "val", tmp_path / "nowhere")
    assert f"data.val_images {tmp_path / 'nowhere'} is not a folder" in message


def test_the_images_folder_is_a_folder(tmp_path: Path) -> None:
    write_coco(tmp_path / "annotations" / "instances_train.json", [], [])
    (tmp_path / "train").write_text("not a folder")
    assert "No images folder for instances_train.json" in refuse(tmp_path)


def test_images_lie_beside_a_json_by_itself(tmp_path: Path) -> None:
    json = write_coco(tmp_path / "train" / "_annotations.coco.json", [], [])
    assert given(json, None, "train") == Files(json, tmp_path / "train")


def test_images_of_a_json_in_cocos_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_root(tmp_path, val2017=1)
    json = tmp_path / "annotations" / "instances_val2017.json"
    assert given(json, None, "val").images == tmp_path / "images" / "val2017"
    assert given(json, tmp_path, "val").images == tmp_path
    monkeypatch.chdir(tmp_path / "annotations")
    assert given(Path("instances_val2017.json"), None, "val").images.samefile(tmp_path / "images" / "val2017")


def test_explicit_paths_must_exist(tmp_path: Path) -> None:
    json = write_coco(tmp_path / "x.json", [], [])
    with pytest.raises(DataError, match=r"data.test_json .*none.json is not a file. Give the path of a COCO instances"):
        given(tmp_path / "none.json", None, "test")
    with pytest.raises(DataError, match=r"data.test_images .*none is not a folder. Give the folder that holds"):
        given(json, tmp_path / "none", "test")
