"""The embedded sample: a small COCO data set of drawn scenes, written on first use, so that nothing is downloaded."""

import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from pycocotools import mask as rle
from tqdm import tqdm

from jaxseg.data import scenes

VERSION = 1
"""Part of the folder's name. Raise it whenever the scenes or the files change."""

TRAIN, VAL = 200, 50

CATEGORIES = (
    {"supercategory": "electronic", "id": 72, "name": "tv"},
    {"supercategory": "electronic", "id": 73, "name": "laptop"},
    {"supercategory": "electronic", "id": 77, "name": "cell phone"},
    {"supercategory": "appliance", "id": 78, "name": "microwave"},
    {"supercategory": "indoor", "id": 84, "name": "book"},
)
_CATEGORY = {category["name"]: category["id"] for category in CATEGORIES}
_SIZES = ((320, 240), (240, 320), (320, 214), (300, 240), (352, 264), (228, 304), (288, 288))
_SMALLEST = 16  # pixels: what is seen of less is not annotated
_HOLE = 4  # pixels: smaller holes are filled


def sample_root(cache: Path | None = None) -> Path:
    """The folder of the sample, in `cache` or the user's cache folder; it is written if it is not there.

    Without `cache`, and where the user's cache folder can't be written, the sample goes to the temporary folder.
    Several processes may call this at once: the folder appears whole or not at all.
    """
    if cache is not None:
        return _ensure(cache / f"sample-{VERSION}")
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    try:
        return _ensure(Path(home) / "jaxseg" / f"sample-{VERSION}")
    except OSError:
        owner = getattr(os, "getuid", lambda: "user")()
        return _ensure(Path(tempfile.gettempdir()) / f"jaxseg-{owner}" / f"sample-{VERSION}")


def _ensure(root: Path) -> Path:
    if _complete(root):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent, ignore_cleanup_errors=True) as folder:
        draft = Path(folder) / "new"
        write_sample(draft)
        if root.is_dir() and not _complete(root):  # files were deleted from it
            root.rename(Path(folder) / "damaged")
        try:
            draft.rename(root)
        except OSError:  # another process was faster
            if not _complete(root):
                raise
    return root


def _complete(root: Path) -> bool:
    return all(
        (root / "annotations" / f"instances_{split}2017.json").is_file()
        and sum(1 for _ in (root / "images" / f"{split}2017").glob("*.jpg")) == count
        for split, count in (("train", TRAIN), ("val", VAL))
    )


def write_sample(root: Path, *, train: int = TRAIN, val: int = VAL, seed: int = 0) -> None:
    """Write `train` and `val` images under `root`, in the layout and with the category ids of COCO.

    The same arguments give the same pixels and the same JSON. Any 12 consecutive images hold a greyscale one, one without
    annotation, one of distractors only, and one with a crowd.
    """
    tasks = [("train", k) for k in range(train)] + [("val", k) for k in range(val)]
    files: dict[str, dict[str, Any]] = {}
    for split in ("train", "val"):
        (root / "images" / f"{split}2017").mkdir(parents=True, exist_ok=True)
        files[split] = {
            "info": {"description": "jaxseg sample: drawn scenes", "version": str(VERSION), "contributor": "jaxseg"},
            "licenses": [{"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
            "images": [],
            "annotations": [],
            "categories": CATEGORIES,
        }

    def write(task: tuple[str, int]) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
        return task[0], *_write_image(root, seed, *task)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm(pool.map(write, tasks), "Drawing the sample data set", len(tasks), delay=2, unit="image")
        for split, image, annotations in bar:
            files[split]["images"].append(image)
            files[split]["annotations"] += annotations
    (root / "annotations").mkdir(exist_ok=True)
    for split, content in files.items():
        for number, annotation in enumerate(content["annotations"], 1):
            annotation["id"] = number + (train * 100 if split == "val" else 0)
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
