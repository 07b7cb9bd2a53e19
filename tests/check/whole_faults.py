"""Faults of a whole file or folder: each needs a data set of its own. They spoil what is written already."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from poison import box

Spoil = Callable[[Path], None]


def train_json(root: Path) -> Path:
    return root / "annotations" / "instances_train.json"


def rewrite(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(train_json(root).read_text())
    changed = change(content)
    train_json(root).write_text(json.dumps(content if changed is None else changed))


def text(content: str) -> Spoil:
    return lambda root: train_json(root).write_text(content) and None


def cut(root: Path) -> None:
    content = train_json(root).read_text()
    train_json(root).write_text(content[: len(content) // 2])


def is_folder(root: Path) -> None:
    train_json(root).unlink()
    train_json(root).mkdir()


def is_pipe(root: Path) -> None:
    train_json(root).unlink()
    os.mkfifo(train_json(root))


def without(key: str) -> Spoil:
    return lambda root: rewrite(root, lambda content: content.pop(key) and None)


def replaced(key: str, value: Any) -> Spoil:
    return lambda root: rewrite(root, lambda content: content.update({key: value}))


def boxes_only(root: Path) -> None:
    rewrite(root, lambda content: [a.pop("segmentation") for a in content["annotations"]] and None)


def no_category_known(root: Path) -> None:
    rewrite(root, lambda content: [a.update(category_id=77) for a in content["annotations"]] and None)


def annotated_with(*segmentations: Any) -> Spoil:
    """All annotations, in turn; their boxes and areas go."""

    def spoil(content: dict[str, Any]) -> None:
        for number, entry in enumerate(content["annotations"]):
            entry["segmentation"] = segmentations[number % len(segmentations)]
            entry.pop("bbox", None), entry.pop("area", None)
            entry["iscrowd"] = 0

    return lambda root: rewrite(root, spoil)


def no_annotations_folder(root: Path) -> None:
    shutil.rmtree(root / "annotations")


def no_images_folder(root: Path) -> None:
    shutil.rmtree(root / "images" / "train")


def two_of_a_split(root: Path) -> None:
    shutil.copy(train_json(root), root / "annotations" / "instances_train2017.json")
    shutil.copytree(root / "images" / "train", root / "images" / "train2017")


def no_validation(root: Path) -> None:
    (root / "annotations" / "instances_val.json").unlink()


def several(*counts: tuple[str, int]) -> dict[tuple[str, str], int]:
    return {("train", code): count for code, count in counts}


MISSING = (("class-missing-in-split", 2),)
TWICE = (("annotation-twice", 1),)  # in the image of the crowd
NO_IMAGES = several(("no-images", 1), ("unknown-image", 13), ("unnamed-file", 6))
NO_CATEGORIES = several(("no-categories", 1), ("unknown-category", 13))
BROKEN = {("train", "broken-json"): 1}
# Name: how it is spoilt, and what must be found, nothing else.
WHOLE: dict[str, tuple[Spoil, dict[tuple[str, str], int]]] = {
    "cut": (cut, BROKEN),
    "empty": (text(" "), BROKEN),
    "no JSON": (text("hello"), BROKEN),
    "a list": (text("[]"), BROKEN),
    "a folder": (is_folder, BROKEN),
    "boxes only": (boxes_only, {("train", "no-masks"): 1, ("train", "no-segmentation"): 13}),
    "all of unknown categories": (no_category_known, several(("no-masks", 1), ("unknown-category", 13), *MISSING)),
    "all outside": (
        annotated_with([box(500, 5, 9, 9)], [box(5, 500, 9, 9)]),
        several(("no-masks", 1), ("outside-frame", 13), *TWICE),
    ),
    "all on a line": (
        annotated_with([[5, 5, 9, 9, 20, 20]], [[5, 5, 9, 5, 20, 5]]),
        several(("no-masks", 1), ("zero-area", 13), *TWICE),
    ),
    "no annotation": (replaced("annotations", []), several(("no-masks", 1), ("image-without-annotation", 6), *MISSING)),
    "a pipe": (is_pipe, BROKEN),
    "no images list": (without("images"), BROKEN),
    "no annotations list": (without("annotations"), BROKEN),
    "no categories list": (without("categories"), BROKEN),
    "annotations are an object": (replaced("annotations", {"1": {}}), BROKEN),
    "an image is no object": (replaced("images", [1, 2]), BROKEN),
    "an annotation is no object": (replaced("annotations", [None]), BROKEN),
    "no images": (replaced("images", []), NO_IMAGES),
    "no categories": (replaced("categories", []), NO_CATEGORIES),
    "no annotations folder": (no_annotations_folder, {("data set", "no-annotations"): 1}),
    "no images folder": (no_images_folder, {("train", "no-images-folder"): 1}),
    "two files of a split": (
        two_of_a_split,
        {
            ("train", "several-files"): 1,
            ("train2017", "image-in-two-splits"): 6,
        },
    ),
    "no validation": (no_validation, {("data set", "missing-split"): 1}),
}
