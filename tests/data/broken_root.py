"""A COCO folder of which much is broken, made by the tests."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from coco_files import write_root
from PIL import Image


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def smaller(path: Path) -> None:
    Image.new("RGB", (20, 30)).save(path)


def turned(path: Path) -> None:
    with Image.open(path) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def truncated_jpeg(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(noise).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:700])


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


IMAGE_FAULTS: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "header alone": lambda path: path.write_bytes(path.read_bytes()[:30]),
    "truncated": cut,
    "truncated JPEG": truncated_jpeg,
    "text": lambda path: path.write_text("<html>404 not found</html>"),
    "smaller": smaller,
    "turned": turned,
    "folder": folder,
    "pipe": pipe,
}
"""What can be wrong with an image of 30 x 40."""

ANNOTATION_FAULTS = (
    [[float("nan"), 3, 9, 3, 9, 9]],
    [[1e8, 3, 9, 3, 9, 1e9]],
    [[3, 3, 9]],
    [[5, 5, 5, 5, 5, 5]],
    [[-90, -90, -80, -90, -80, -80]],
    [],
    [[]],
    {"counts": [5, 10], "size": [30, 40]},
    {"counts": [-5, 1205], "size": [30, 40]},
    {"counts": [2**40, 3], "size": [2**30, 2**30]},
    {"counts": "\x01junk", "size": [30, 40]},
    {"counts": None},
    "text",
    None,
)


def write_broken_root(root: Path) -> dict[int, str]:
    """30 training and 10 validation images; gives the id and the fault of each image that can't be read.

    The annotations are broken too: of each kind one, beside a sound one.
    """
    write_root(root, train2017=30, val2017=10)
    faults = {}
    for split, first in (("train2017", 3), ("val2017", 31)):
        for id_, name in enumerate(IMAGE_FAULTS if split == "train2017" else list(IMAGE_FAULTS)[:3], first):
            IMAGE_FAULTS[name](root / "images" / split / f"{id_}.png")
            faults[id_] = name
        path = root / "annotations" / f"instances_{split}.json"
        content = json.loads(path.read_text())
        for number, segmentation in enumerate(ANNOTATION_FAULTS):
            broken = {"id": 5000 + number, "image_id": first + number % 9, "category_id": 1, "iscrowd": 0}
            content["annotations"].append({**broken, "segmentation": segmentation})
        stray = {"iscrowd": 0, "segmentation": [[2, 2, 9, 2, 9, 9]]}
        content["annotations"] += [
            {"id": 6000, "image_id": 999, "category_id": 1, **stray},
            {"id": 6001, "image_id": first, "category_id": 77, **stray},
        ]
        content["images"].append({"id": 900, "file_name": "../../escape.png", "height": 30, "width": 40})
        faults[900] = "leaves the folder"
        content["images"].append({"id": 901, "file_name": "1.png", "height": 2**30, "width": 2**30})
        path.write_text(json.dumps(content))
    return faults
