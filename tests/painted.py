"""A data set whose pictures show their own masks, and models that read them off."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from data.coco_files import annotation, image, rle, write_coco
from PIL import Image
from score_pieces import blobs

import jaxseg
from jaxseg.predictor import Predictor

SIZES = ((40, 56), (30, 33), (48, 48), (40, 56), (25, 60), (36, 36))
CATEGORIES = ("cat", "dog")


def paint(root: Path, *, crowd: bool = False, seed: int = 0) -> Path:
    """Six pictures in COCO's layout, of two categories: red is cat, green is dog; the third has neither.

    `crowd`: each has a crowd of cats in its first columns, too.
    """
    images, annotations = [], []
    folder = root / "images" / "val"
    folder.mkdir(parents=True)
    for number, size in enumerate(SIZES, 1):
        entry = image(number, *size)
        images.append(entry)
        mask = blobs(number + seed, 3, size) if number != 3 else np.zeros(size, np.uint8)
        for category in (1, 2):
            if (mask == category).any():
                segmentation = rle(mask == category)
                annotations.append(annotation(10 * number + category, number, category, segmentation))
        if crowd:
            left = np.zeros(size, bool)
            left[:, :7] = True
            annotations.append(annotation(10 * number + 9, number, 1, rle(left), iscrowd=1))
        picture = np.stack([mask == 1, mask == 2, mask == 7], axis=-1).astype(np.uint8) * 255
        Image.fromarray(picture).save(folder / entry["file_name"])
    write_coco(root / "annotations" / "instances_val.json", images, annotations, CATEGORIES)
    return root


def painted_data(root: Path, size: tuple[int, int] = (64, 64), **settings: Any) -> jaxseg.Data:
    return jaxseg.Data(root=root, classes=CATEGORIES, height=size[0], width=size[1], **settings)


def model_of(forward: Callable[..., Any], mode: str, size: tuple[int, int] = (64, 64), **settings: Any) -> Predictor:
    """A model that is only a function of the picture."""
    names = ["background", *CATEGORIES] if mode == "multiclass" else ["background", "cat + dog"]
    description = {
        "height": size[0],
        "width": size[1],
        "channels": 3,
        "mode": mode,
        "resize": "letterbox",
        "classes": names,
        "threshold": 0.5,
        **settings,
    }
    return Predictor(description, forward, {}, 1)


def reads_binary(_: Any, images: Any) -> Any:
    """Foreground where the picture is red or green."""
    return (images.max(-1, keepdims=True) / np.float32(255)).astype(np.float32)


def reads_classes(_: Any, images: Any) -> Any:
    """Each class where the picture has its colour."""
    shares = images.astype(np.float32) / 255
    return shares[..., [2, 0, 1]].at[..., 0].set(1 - shares.max(-1))


def leave_out(root: Path, number: int) -> None:
    """Break one picture."""
    (root / "images" / "val" / f"{number}.png").write_bytes(b"no picture")


def content_of(root: Path) -> dict[str, Any]:
    return json.loads((root / "annotations" / "instances_val.json").read_text())
