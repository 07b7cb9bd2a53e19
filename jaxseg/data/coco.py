"""The COCO index: an `instances_*.json` as flat arrays, with random access by image position."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt8

from jaxseg.data.segmentations import BAD, POLYGON, RLE, Parts
from jaxseg.errors import DataError


class Annotation(NamedTuple):
    """One object of one image, at the image's full size.

    `category` is a position in `CocoIndex.categories`, -1 where the JSON knows no such category.
    `polygons` hold x, y, x, y, ... in pixels; together they are a union. `rle` holds column-major run lengths.
    """

    id: int
    category: int
    crowd: bool
    polygons: list[Float64[np.ndarray, " coordinates"]]
    rle: Int64[np.ndarray, " runs"] | None


class Category(NamedTuple):
    """A category of the JSON."""

    id: int
    name: str
    supercategory: str


@dataclass(frozen=True)
class CocoIndex:
    """What a COCO file says, flat: annotations sorted by image, their parts (polygons, run lengths) end to end.

    Annotations of image `i` are `annotation_offsets[i]:annotation_offsets[i + 1]`, and so on downwards.
    """

    path: Path
    digest: str
    categories: tuple[Category, ...]
    image_id: Int64[np.ndarray, " images"]
    image_height: Int32[np.ndarray, " images"]
    image_width: Int32[np.ndarray, " images"]
    names: UInt8[np.ndarray, " characters"]
    name_offsets: Int64[np.ndarray, " images+1"]
    annotation_offsets: Int64[np.ndarray, " images+1"]
    annotation_id: Int64[np.ndarray, " annotations"]
    annotation_category: Int32[np.ndarray, " annotations"]
    annotation_crowd: Bool[np.ndarray, " annotations"]
    part_offsets: Int64[np.ndarray, " annotations+1"]
    part_kind: UInt8[np.ndarray, " parts"]
    value_offsets: Int64[np.ndarray, " parts+1"]
    values: Float64[np.ndarray, " values"]  # double, as pycocotools rounds: float32 would move pixels
    orphans: Int64[np.ndarray, " orphans"]  # ids of annotations whose image the file does not list

    def __len__(self) -> int:
        return len(self.image_id)

    def file_name(self, position: int) -> str:
        """The image's file, relative to the images folder."""
        return bytes(self.names[self.name_offsets[position] : self.name_offsets[position + 1]]).decode()

    def annotations(self, position: int) -> Iterator[Annotation]:
        """The annotations of one image, in the order of the file; parts that failed the checks are left out."""
        for a in range(self.annotation_offsets[position], self.annotation_offsets[position + 1]):
            polygons, rle = [], None
            for p in range(self.part_offsets[a], self.part_offsets[a + 1]):
                values = self.values[self.value_offsets[p] : self.value_offsets[p + 1]]
                if self.part_kind[p] == POLYGON:
                    polygons.append(values)
                elif self.part_kind[p] == RLE:
                    rle = values.astype(np.int64)
            yield Annotation(
                int(self.annotation_id[a]),
                int(self.annotation_category[a]),
                bool(self.annotation_crowd[a]),
                polygons,
                rle,
            )

    def bad_annotations(self) -> Int64[np.ndarray, " bad"]:
        """Ids of the annotations of which a part can't be drawn: not finite, too short, absurd, wrong run lengths."""
        owner = np.repeat(np.arange(len(self.annotation_id)), np.diff(self.part_offsets))
        return self.annotation_id[np.unique(owner[self.part_kind == BAD])]

    def empty_annotations(self) -> Int64[np.ndarray, " empty"]:
        """Ids of the annotations that have no segmentation at all, such as those of a file of boxes."""
        return self.annotation_id[np.diff(self.part_offsets) == 0]

    def warnings(self) -> list[str]:
        """What in the file will not be drawn, a line a kind."""
        kinds = {
            "have a part that can't be drawn (not finite, too short, absurdly far out, wrong run lengths): left out": (
                self.bad_annotations()
            ),
            "have no segmentation: nothing is drawn": self.empty_annotations(),
            "belong to images that the file does not list: left out": self.orphans,
            "have a category that the file does not list: see data.unknown_category": (
                self.annotation_id[self.annotation_category < 0]
            ),
        }
        return [
            f"{self.path.name}: {len(ids)} annotations {kind}; first ids {', '.join(map(str, ids[:5]))}"
            for kind, ids in kinds.items()
            if len(ids)
        ]


def read_index(path: Path) -> CocoIndex:
    """Parse a COCO `instances` file and check what would later break.

    Raises:
        DataError: if it is missing, is not JSON, or is not COCO; with the place.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror}).") from error
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error}). Is it complete? Download or export it again.") from error
    return build(content, path, hashlib.sha256(text).hexdigest())


def build(content: Any, path: Path, digest: str) -> CocoIndex:
    images, annotations, listed = (table(content, key, path) for key in ("images", "annotations", "categories"))
    categories = tuple(
        Category(field(c, "id", int, path), field(c, "name", str, path), str(c.get("supercategory", "")))
        for c in listed
    )
    category_position = unique_positions([c.id for c in categories], "category", path)
    image_id = [field(image, "id", int, path) for image in images]
    image_position = unique_positions(image_id, "image", path)
    names = [field(image, "file_name", str, path).encode() for image in images]
    height = [field(image, "height", int, path) for image in images]
    width = [field(image, "width", int, path) for image in images]
    for image, h, w in zip(image_id, height, width, strict=True):
        if not (0 < h < 2**31 and 0 < w < 2**31):
            raise DataError(f"{path}: image {image} has height {h}, width {w}; both must be positive.")

    positions = [position_of(a.get("image_id"), image_position) for a in annotations]
    orphans = [field(a, "id", int, path) for a, p in zip(annotations, positions, strict=True) if p < 0]
    order = np.argsort(np.asarray(positions, np.int64), kind="stable")[len(orphans) :]

    parts = Parts()
    for a in order:
        position = positions[a]
        parts.add(annotations[a].get("segmentation"), height[position], width[position])
    ordered = [annotations[a] for a in order]
    counts = np.bincount(np.asarray([positions[a] for a in order], np.int64), minlength=len(images))
    return CocoIndex(
        path=path,
        digest=digest,
        categories=categories,
        image_id=np.asarray(image_id, np.int64),
        image_height=np.asarray(height, np.int32),
        image_width=np.asarray(width, np.int32),
        names=np.frombuffer(b"".join(names), np.uint8),
        name_offsets=offsets([len(n) for n in names]),
        annotation_offsets=offsets(counts),
        annotation_id=np.asarray([field(a, "id", int, path) for a in ordered], np.int64),
        annotation_category=np.asarray(
            [position_of(a.get("category_id"), category_position) for a in ordered], np.int32
        ),
        annotation_crowd=np.asarray([bool(a.get("iscrowd", 0)) for a in ordered], np.bool_),
        part_offsets=offsets(parts.per_annotation),
        part_kind=np.frombuffer(bytes(parts.kinds), np.uint8),
        value_offsets=offsets(parts.lengths),
        values=np.asarray(parts.values, np.float64),
        orphans=np.asarray(orphans, np.int64),
    )


def offsets(lengths: Any) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, np.int64))]).astype(np.int64)


def table(content: Any, key: str, path: Path) -> list[dict]:
    found = content.get(key) if isinstance(content, dict) else None
    if isinstance(found, list) and all(isinstance(row, dict) for row in found):
        return found
    keys = (
        f"an object with {', '.join(sorted(map(repr, content))[:6]) or 'no keys'}"
        if isinstance(content, dict)
        else f"a {type(content).__name__}"
    )
    raise DataError(
        f"{path} is not a COCO instances file: expected an object with the lists 'images', 'annotations' and "
        f"'categories', found {keys}; {key!r} is missing or no list of objects."
    )


def field(row: dict, key: str, kind: type, path: Path) -> Any:
    value = row.get(key)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)  # some tools write 640.0
    if kind is int and type(value) is int and abs(value) < 2**63:
        return value
    if kind is str and type(value) is str and is_text(value):
        return value
    expected = "a whole number" if kind is int else "text"
    raise DataError(f"{path}: expected {key!r} to be {expected}, found {value!r} in {str(row)[:120]}.")


def is_text(value: str) -> bool:
    """False for half a surrogate pair, which JSON allows and no file name can hold."""
    return value == value.encode(errors="ignore").decode()


def position_of(id_: Any, positions: dict[Any, int]) -> int:
    """-1 for an id that the file does not list, and for what is no id."""
    return positions.get(id_, -1) if isinstance(id_, int | float) else -1


def unique_positions(ids: list[int], what: str, path: Path) -> dict[int, int]:
    positions = {id_: position for position, id_ in enumerate(ids)}
    if len(positions) != len(ids):
        twice = next(id_ for position, id_ in enumerate(ids) if positions[id_] != position)
        raise DataError(f"{path}: {what} id {twice} is given to two entries; ids must be unique.")
    return positions
