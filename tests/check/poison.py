"""A sound data set, and faults that can be put into it one by one or all together."""

import itertools
import json
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 60, 80
Entry = dict[str, Any]


class DataSet:
    """COCO's layout with a training and a validation split; whatever is asked of it is sound until it is spoilt."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.numbers = itertools.count(1)
        self.expected: Counter[tuple[str, str]] = Counter()  # of each split and code
        categories = [{"id": 1, "name": "cat"}, {"id": 5, "name": "dog"}]
        self.content: dict[str, Any] = {
            split: {"images": [], "annotations": [], "categories": [dict(c) for c in categories]}
            for split in ("train", "val")
        }
        for split, count in (("train", 6), ("val", 4)):
            self.folder(split).mkdir(parents=True)
            for _ in range(count):
                entry = self.image(split)
                self.annotate(entry, [box(41, 30, 30, 22)], category_id=5)
            crowd = np.zeros((HEIGHT, WIDTH), np.uint8)
            crowd[40:55, 10:30] = 1
            self.annotate(entry, rle(crowd), iscrowd=1, bbox=[10, 40, 20, 15], area=300)

    def folder(self, split: str = "train") -> Path:
        return self.root / "images" / split

    def path(self, entry: Entry, split: str = "train") -> Path:
        return self.folder(split) / entry["file_name"]

    def image(self, split: str = "train", *, annotated: bool = True, ending: str = "png", **more: Any) -> Entry:
        """A new image of noise, with a cat."""
        id_ = next(self.numbers)
        entry = {"id": id_, "height": HEIGHT, "width": WIDTH, "file_name": f"{id_:04d}.{ending}", **more}
        self.content[split]["images"].append(entry)
        picture(id_).save(self.folder(split) / f"{id_:04d}.{ending}")
        if annotated:
            self.annotate(entry, [box(5, 6, 30, 20)])
        return entry

    def annotate(self, entry: Entry | None, segmentation: Any, **more: Any) -> Entry:
        """A new annotation, in a new image if none is given; its box and area are those of a polygon or left out."""
        if entry is None:
            entry = self.image()
        split = next(s for s, content in self.content.items() if any(entry is image for image in content["images"]))
        annotation = {"id": next(self.numbers), "image_id": entry["id"], "category_id": 1, "iscrowd": 0}
        annotation["segmentation"] = segmentation
        outline = segmentation[0] if isinstance(segmentation, list) and len(segmentation) == 1 else None
        if isinstance(outline, list) and len(outline) == 8:
            x, y, width, height = *outline[:2], outline[2] - outline[0], outline[5] - outline[1]
            annotation |= {"bbox": [x, y, width, height], "area": width * height}
        self.content[split]["annotations"].append({**annotation, **more})
        return self.content[split]["annotations"][-1]

    def expect(self, code: str, count: int = 1, split: str = "train") -> None:
        self.expected[split, code] += count

    def write(self) -> Path:
        (self.root / "annotations").mkdir(exist_ok=True)
        for split, content in self.content.items():
            (self.root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        return self.root


def box(x: float, y: float, width: float, height: float) -> list[float]:
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def rle(mask: np.ndarray) -> Entry:
    flat = mask.ravel(order="F").astype(int)
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat])))
    return {
        "counts": np.diff(np.concatenate([[0], changes, [flat.size]])).tolist(),
        "size": list(mask.shape),
    }


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it is of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
