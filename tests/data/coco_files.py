"""Small COCO files and folders, made by the tests."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

CATEGORIES = ("cat", "dog", "bird")  # with ids 1, 2, 3


def image(id_: int, height: int = 30, width: int = 40, **more: Any) -> dict[str, Any]:
    return {"id": id_, "height": height, "width": width, "file_name": f"{id_}.png", **more}


def annotation(id_: int, image_id: int, category_id: int = 1, segmentation: Any = None, **more: Any) -> dict[str, Any]:
    entry = {"id": id_, "image_id": image_id, "category_id": category_id, "iscrowd": 0, **more}
    return entry if segmentation is None else {**entry, "segmentation": segmentation}


def box(x: float, y: float, width: float, height: float) -> list[float]:
    """A rectangle as a COCO polygon."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def runs(mask: np.ndarray) -> list[int]:
    """Run lengths down the columns, the first of them background."""
    flat = mask.ravel(order="F").astype(int)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()


def rle(mask: np.ndarray) -> dict[str, Any]:
    """A mask as COCO's uncompressed run lengths."""
    return {"counts": runs(mask), "size": list(mask.shape)}


def compressed(mask: np.ndarray) -> str:
    """A mask as the string of COCO's compressed run lengths."""
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()


def content(images: list[dict], annotations: list[dict], categories: Any = CATEGORIES) -> dict[str, Any]:
    """What a COCO file holds; categories are names, or entries as they are."""
    listed = [{"id": i, "name": c} if isinstance(c, str) else c for i, c in enumerate(categories, 1)]
    return {"images": images, "annotations": annotations, "categories": listed}


def write_coco(path: Path, images: list[dict], annotations: list[dict], categories: Any = CATEGORIES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content(images, annotations, categories)), encoding="utf-8")
    return path


def write_pictures(folder: Path, images: list[dict]) -> None:
    """Noise, another one for each image."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in images:
        noise = np.random.default_rng(entry["id"] % 2**32)
        pixels = noise.integers(0, 256, (entry["height"], entry["width"], 3), np.uint8)
        Image.fromarray(pixels).save(folder / entry["file_name"])


def write_root(root: Path, **splits: int) -> Path:
    """COCO's layout: `splits` names each split's number of images; every image has a box, of cat, dog, bird in turn."""
    first = 1
    for split, count in splits.items():
        images = [image(i) for i in range(first, first + count)]
        boxes = [annotation(10 * i["id"], i["id"], 1 + n % 3, [box(5, 8, 10 + n, 12)]) for n, i in enumerate(images)]
        write_coco(root / "annotations" / f"instances_{split}.json", images, boxes)
        write_pictures(root / "images" / split, images)
        first += count
    return root
