"""The embedded sample: a COCO data set of drawn scenes, written on first use, so that training needs no download."""

import json
import math
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
from jaxseg.data.caches import cache_folder

VERSION = 1
"""Part of the folder's name. Raise it with every change of the scenes or the files."""

TRAIN, VAL = 200, 50

CATEGORIES = (
    {"supercategory": "electronic", "id": 72, "name": "tv"},
    {"supercategory": "electronic", "id": 73, "name": "laptop"},
    {"supercategory": "electronic", "id": 77, "name": "cell phone"},
    {"supercategory": "appliance", "id": 78, "name": "microwave"},
    {"supercategory": "indoor", "id": 84, "name": "book"},
)
_ID = {category["name"]: category["id"] for category in CATEGORIES}
_SIZES = ((320, 240), (240, 320), (320, 214), (216, 304), (288, 232), (340, 256), (256, 256))
_SCENES = {3: "distractors", 6: "crowd", 9: "empty"}  # by the image's number modulo 12; the others are mixed
_GREY = 11
_SPECK = 1  # pixel: parts of no more are left out
_HOLE = 0.01  # of the area of a mask: smaller holes are filled
_SMALLEST = 36  # pixels: a thing of which less is seen is not annotated


def sample_root(cache: Path | None = None) -> Path:
    """The folder of the sample, in `cache` or in the user's cache; it is written if it is not there.

    Where the user's cache can't be written, it goes to the folder for temporary files.
    The folder appears whole or not at all, also when several processes call this at once.
    """
    name = f"sample-{VERSION}"
    if cache is not None:
        return _ensure(Path(cache) / name)
    user = getattr(os, "getuid", lambda: "user")()
    fallback = Path(tempfile.gettempdir()) / f"jaxseg-{user}" / name
    try:
        return _ensure(cache_folder() / name)
    except (OSError, RuntimeError) as problem:  # RuntimeError: the user has no home
        try:
            return _ensure(fallback)
        except OSError as second:
            raise OSError(
                f"The sample data set could not be written ({problem}; {second}). "
                "Set JAXSEG_CACHE to a folder with 20 MB of room, or give a data root of your own."
            ) from second


def _ensure(root: Path) -> Path:
    if _whole(root):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent, ignore_cleanup_errors=True) as folder:
        draft = Path(folder) / "new"
        write_sample(draft, train=TRAIN, val=VAL)
        try:
            if root.exists() and not _whole(root):  # somebody deleted files from it
                root.rename(Path(folder) / "old")
            draft.rename(root)
        except OSError:
            if not _whole(root):  # else another process was faster
                raise
    return root


def _whole(root: Path) -> bool:
    counts = {"train2017": TRAIN, "val2017": VAL}
    return all((root / "annotations" / f"instances_{split}.json").is_file() for split in counts) and all(
        len(list((root / "images" / split).glob("*.jpg"))) == count for split, count in counts.items()
    )


def write_sample(root: Path, *, train: int = TRAIN, val: int = VAL, seed: int = 0) -> None:
    """Write `train` and `val` images, and their annotations, in COCO's layout.

    The same arguments give the same JSON and the same pixels. Of twelve images in a row one is greyscale, one has no
    annotation, one holds only books and microwaves, and one a crowd.
    """
    tasks = [("train2017", index) for index in range(train)] + [("val2017", index) for index in range(val)]
    for split in ("train2017", "val2017"):
        (root / "images" / split).mkdir(parents=True, exist_ok=True)

    def write(number: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        split, index = tasks[number - 1]
        pixels, instances = draw_image(seed, split, index)
        name = f"{number:012d}.jpg"
        Image.fromarray(pixels).save(root / "images" / split / name, quality=88)
        annotations = [annotation for annotation in map(_annotation, instances) if annotation]
        height, width = pixels.shape[:2]
        return {"license": 1, "file_name": name, "height": height, "width": width, "id": number}, annotations

    content: dict[str, dict[str, Any]] = {
        split: {
            "info": {"description": "jaxseg sample: drawn scenes", "version": str(VERSION), "contributor": "jaxseg"},
            "licenses": [{"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
            "images": [],
            "annotations": [],
            "categories": CATEGORIES,
        }
        for split in ("train2017", "val2017")
    }
    total = 0
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        written = pool.map(write, range(1, len(tasks) + 1))
        bar = tqdm(written, "Drawing the sample data set", len(tasks), delay=2, mininterval=1, unit="image")
        for image, annotations in bar:
            split = content[tasks[image["id"] - 1][0]]
            split["images"].append(image)
            for annotation in annotations:
                total += 1
                split["annotations"].append({"id": total, "image_id": image["id"], **annotation})
    (root / "annotations").mkdir(exist_ok=True)
    for split, value in content.items():
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(value), encoding="utf-8")


def draw_image(
    seed: int, split: str, index: int
) -> tuple[UInt8[np.ndarray, "height width *rgb"], list[scenes.Instance]]:
    """The pixels of an image, before JPEG, and what is in it: a pure function. A greyscale image has no third axis."""
    rng = np.random.default_rng([seed, split == "val2017", index])
    width, height = _SIZES[rng.integers(len(_SIZES))]
    pixels, instances = scenes.draw(rng, width, height, _SCENES.get(index % 12, "mixed"))
    return np.asarray(Image.fromarray(pixels).convert("L")) if index % 12 == _GREY else pixels, instances


def _annotation(instance: scenes.Instance) -> dict[str, Any] | None:
    """Its part of the JSON, the ids apart; None for a thing that is hidden or as good as hidden."""
    height, width = instance.mask.shape
    if instance.crowd:
        column_major = instance.mask.ravel(order="F")
        changes = np.flatnonzero(np.diff(column_major, prepend=False))  # runs begin with the background
        counts = np.diff(changes, prepend=0, append=column_major.size).tolist()
        segmentation: Any = {"counts": counts, "size": [height, width]}
        encoded = rle.frPyObjects(segmentation, height, width)
    else:
        segmentation = outlines(instance.mask)
        if not segmentation or instance.mask.sum() < _SMALLEST:
            return None
        encoded = rle.merge(rle.frPyObjects(segmentation, height, width))
    return {
        "category_id": _ID[instance.name],
        "segmentation": segmentation,
        "area": float(rle.area(encoded)),
        "bbox": rle.toBbox(encoded).tolist(),
        "iscrowd": int(instance.crowd),
    }


def outlines(mask: Bool[np.ndarray, "height width"]) -> list[list[float]]:
    """COCO polygons [x, y, x, y, ...], one for each part of a mask.

    A part with a hole is cut in two through the hole, for COCO takes the union of polygons.
    """
    polygons = []
    for loop in _loops(mask):
        x, y = loop.T
        area = (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2  # negative around a hole
        if -area > _HOLE * mask.sum():
            columns = np.arange(mask.shape[1]) < int(x.mean())
            return outlines(mask & columns) + outlines(mask & ~columns)
        if area >= _SPECK:
            tolerance = min(0.45, math.sqrt(area) / 80)  # under half a pixel, so that no straight side moves
            polygons.append(_simplify(loop, tolerance).ravel().tolist())
    return polygons


def _loops(mask: Bool[np.ndarray, "height width"]) -> list[Float[np.ndarray, "points 2"]]:
    """The borders between mask and background, clockwise around the mask, by the middles of the pixels' sides."""
    inside = np.pad(mask, 1)
    stride = inside.shape[1]
    # A side is 4 * corner + heading, where the headings 0..3 are right, down, left, up, and the mask is to the right.
    starts, ahead, sides = (0, 1, stride + 1, stride), (1, stride, -1, -stride), {}
    for heading, neighbour in enumerate((-stride, 1, stride, -1)):
        edge = inside.ravel() & ~np.roll(inside.ravel(), -neighbour)
        sides.update(dict.fromkeys((4 * (np.flatnonzero(edge) + starts[heading]) + heading).tolist()))
    loops = []
    while sides:
        first = side = next(iter(sides))
        path = []
        while side != first or not path:
            path.append(side)
            corner, heading = side // 4 + ahead[side % 4], side % 4
            for turn in (1, 0, 3):  # right, straight on, left
                side = 4 * corner + (heading + turn) % 4
                if side in sides:
                    break
        for side in path:
            del sides[side]
        corners, headings = np.divmod(np.array(path), 4)
        middles = np.array([(0.5, 0), (0, 0.5), (-0.5, 0), (0, -0.5)])[headings]
        loops.append(np.stack([corners % stride, corners // stride], axis=1) - 1 + middles)
    return loops


def _simplify(loop: Float[np.ndarray, "points 2"], tolerance: float) -> Float[np.ndarray, "fewer 2"]:
    """Ramer, Douglas and Peucker: leave out the points that are within `tolerance` of the line without them."""
    far = int(np.argmax(np.linalg.norm(loop - loop[0], axis=1)))
    closed, keep, spans = np.concatenate([loop, loop[:1]]), {0, far}, [(0, far), (far, len(loop))]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        (x, y), (dx, dy) = (closed[start + 1 : end] - closed[start]).T, closed[end] - closed[start]
        distances = np.abs(x * dy - y * dx) / math.hypot(dx, dy)
        worst = int(np.argmax(distances))
        if distances[worst] > tolerance:
            keep.add(start + 1 + worst)
            spans += [(start, start + 1 + worst), (start + 1 + worst, end)]
    return loop[sorted(keep)]
