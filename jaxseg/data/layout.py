"""Where the annotations and images of a data set lie."""

import os
from pathlib import Path
from typing import Literal, NamedTuple

from jaxseg.data.coco import DataError

Split = Literal["train", "val", "test"]


class Files(NamedTuple):
    """One COCO file and the folder that its file names are relative to."""

    json: Path
    images: Path


def in_coco_root(root: Path, images: Path | None, split: Split) -> Files:
    """The files of a split under a root in COCO's layout.

    `annotations/instances_<split>*.json` with `images/<same ending>/` or `<same ending>/`, or the given folder.

    Raises:
        DataError: saying what was expected where, and how to get it.
    """
    if not root.is_dir():
        raise DataError(f"data.root {root} is not a folder.\n{how_to_get_coco(root)}")
    found = sorted((root / "annotations").glob(f"instances_{split}*.json"))
    if not found:
        share = f", or take a part of the training file by --data.{split}-fraction 0.2" if split != "train" else ""
        raise DataError(
            f"{root / 'annotations'} holds no instances_{split}*.json. Name it by --data.{split}-json and "
            f"--data.{split}-images{share}."
            + (f"\n{how_to_get_coco(root)}" if split != "test" else "")  # COCO's own test split has no masks
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{root / 'annotations'} holds {names}: choose one by --data.{split}-json.")
    if images is not None or by_layout(found[0]):
        return given(found[0], images, split)
    ending = ending_of(found[0])
    raise DataError(
        f"No images folder for {found[0].name}: expected {root / 'images' / ending} or {root / ending}. "
        f"Unpack {ending}.zip there, or name the folder by --data.{split}-images."
    )


def given(json: Path, images: Path | None, split: Split) -> Files:
    """The files named one by one; images whose folder is not given lie by COCO's layout, or else beside the JSON.

    Raises:
        DataError: if either is missing.
    """
    if not json.is_file():
        raise DataError(f"data.{split}_json {json} is not a file. Give the path of a COCO instances file.")
    folder = (by_layout(json) or json.parent) if images is None else images
    if not folder.is_dir():
        raise DataError(f"data.{split}_images {folder} is not a folder. Give the folder that holds the images.")
    return Files(json, folder)


def image_path(folder: Path, name: str) -> Path:
    """The file of an image; `name` comes from the JSON, and must not lead out of the folder.

    Links in the folder are followed: whoever put them there had the right to.

    Raises:
        DataError: for a name that is empty, holds a NUL, or leaves the folder.
    """
    base = os.path.join(os.path.abspath(folder), "")
    whole = os.path.abspath(os.path.join(base, name)) if "\0" not in name else ""
    if not whole.startswith(base) or whole == base:
        raise DataError(
            f"The file name {name!r} leaves the images folder {folder} or names no file in it: file names are "
            "relative to that folder. Mend the JSON, or give another folder by data.train_images and the like."
        )
    return folder / whole.removeprefix(base)


def by_layout(json: Path) -> Path | None:
    """The images folder that COCO's layout has for an annotations file, if it is there."""
    root, ending = json.absolute().parent.parent, ending_of(json)
    return next((folder for folder in (root / "images" / ending, root / ending) if folder.is_dir()), None)


def ending_of(json: Path) -> str:
    return json.stem.removeprefix("instances_")


def how_to_get_coco(root: Path) -> str:
    return (
        f"For COCO 2017, download train2017.zip, val2017.zip and annotations_trainval2017.zip from "
        f"cocodataset.org/#download and unpack them so that these exist:\n"
        f"  {root}/annotations/instances_train2017.json\n"
        f"  {root}/annotations/instances_val2017.json\n"
        f"  {root}/images/train2017/*.jpg\n"
        f"  {root}/images/val2017/*.jpg\n"
        f"Without --data.root, the embedded sample is used."
    )
