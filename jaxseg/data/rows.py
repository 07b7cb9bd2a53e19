"""The entries of a COCO file to flat arrays: images, annotations and categories as rows."""

from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from jaxseg.data.geometry import check_pixels
from jaxseg.data.segmentations import Segmentations, offsets
from jaxseg.errors import DataError

NONE = -(2**63)  # stands for what is no whole number of 64 bits; no id is this
NO_BOX = array("d", [np.nan] * 4)
TOLD = 5  # entries that can't be used are counted, and the first told


class Category(NamedTuple):
    """A category of the JSON."""

    id: int
    name: str
    supercategory: str


class Unusable(NamedTuple):
    """Entries of one list that can't be used: how many, and what is wrong with the first ones."""

    number: int = 0
    first: tuple[str, ...] = ()

    def with_one(self, error: DataError) -> "Unusable":
        """One more of them."""
        return Unusable(self.number + 1, (*self.first, str(error))[:TOLD])


class Rows:
    """Grows the rows as the entries come, in any order, and joins them at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.categories: dict[int, Category] = {}  # by id
        self.image_id: dict[int, int] = {}  # to its position
        self.height, self.width, self.names = array("i"), array("i"), []
        self.bad_images, self.bad_categories = Unusable(), Unusable()
        self.annotation_id, self.image_of, self.category_of = array("q"), array("q"), array("q")
        self.crowd, self.odd_crowd, self.boxes = bytearray(), bytearray(), array("d")
        self.segmentations = Segmentations()

    def add_all(self, entries: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Entries with the names of their lists.

        An image or category that can't be used is left out and told: whether that is an error, the settings say.
        """
        adders = {"images": self.add_image, "annotations": self.add_annotation, "categories": self.add_category}
        for key, entry in entries:
            adders[key](entry)

    def add_category(self, entry: dict[str, Any]) -> None:
        try:
            id_, name = field(entry, "id", int, self.path), field(entry, "name", str, self.path)
            if id_ in self.categories:
                raise DataError(f"{self.path}: category id {id_} is given to two entries; ids must be unique.")
        except DataError as error:
            self.bad_categories = self.bad_categories.with_one(error)
            return
        self.categories[id_] = Category(id_, name, str(entry.get("supercategory", "")))

    def add_image(self, entry: dict[str, Any]) -> None:
        try:
            id_, name = field(entry, "id", int, self.path), field(entry, "file_name", str, self.path)
            height, width = field(entry, "height", int, self.path), field(entry, "width", int, self.path)
            if height < 1 or width < 1:
                raise DataError(f"{self.path}: image {id_} has height {height}, width {width}; both must be positive.")
            check_pixels((height, width), f"{self.path}: image {id_}, by its entry,")
            if id_ in self.image_id:
                raise DataError(f"{self.path}: image id {id_} is given to two entries; ids must be unique.")
        except DataError as error:
            self.bad_images = self.bad_images.with_one(error)
            return
        self.image_id[id_] = len(self.image_id)
        self.names.append(name.encode())
        self.height.append(height)
        self.width.append(width)

    def add_annotation(self, entry: dict[str, Any]) -> None:
        get = entry.get
        self.annotation_id.append(whole(get("id")))
        self.image_of.append(whole(get("image_id")))
        self.category_of.append(whole(get("category_id")))
        crowd = get("iscrowd") or 0
        odd = crowd not in (0, 1)
        self.crowd.append(0 if odd else int(crowd))
        self.odd_crowd.append(odd)
        self.add_box(get("bbox"))
        self.segmentations.add(get("segmentation"))

    def add_box(self, said: Any) -> None:
        """NaN where it is not given."""
        if type(said) is list and len(said) == 4:
            try:
                self.boxes.fromlist(said)
                return
            except (TypeError, OverflowError):
                pass
        self.boxes.extend(NO_BOX)

    def joined(self) -> dict[str, Any]:
        """The fields of `jaxseg.data.index.CocoIndex`, by name."""
        ids, crowd = np.frombuffer(self.annotation_id, np.int64), np.frombuffer(self.crowd, np.bool_)
        height, width = np.frombuffer(self.height, np.int32), np.frombuffer(self.width, np.int32)
        position = positions_of(np.frombuffer(self.image_of, np.int64), list(self.image_id))
        category = positions_of(np.frombuffer(self.category_of, np.int64), list(self.categories))
        order = np.argsort(position, kind="stable")[np.count_nonzero(position < 0) :]
        size = np.append(np.stack([height, width], axis=1), [[0, 0]], axis=0).astype(np.int64)  # the last, of none
        drawable = self.segmentations.drawable(order, size[position])
        return {
            "categories": tuple(self.categories.values()),
            "bad_images": self.bad_images,
            "bad_categories": self.bad_categories,
            "image_id": np.asarray(list(self.image_id), np.int64),
            "image_height": height,
            "image_width": width,
            "names": np.frombuffer(b"".join(self.names), np.uint8),
            "name_offsets": offsets([len(name) for name in self.names]),
            "annotation_offsets": offsets(np.bincount(position[order], minlength=len(height))),
            "annotation_id": np.where(ids == NONE, -1, ids)[order],
            "annotation_category": category[order].astype(np.int32),
            "annotation_crowd": crowd[order],
            "annotation_box": np.frombuffer(self.boxes, np.float64).reshape(-1, 4)[order],
            "annotation_faulty": drawable.faulty,
            "annotation_empty": drawable.empty,
            "outline_offsets": drawable.outline_offsets,
            "point_offsets": drawable.point_offsets,
            "points": drawable.points,
            "point_scale": drawable.point_scale,
            "run_offsets": drawable.run_offsets,
            "runs": drawable.runs,
            "orphans": np.where(ids == NONE, -1, ids)[position < 0],
            "odd_crowds": ids[np.frombuffer(self.odd_crowd, np.bool_)],
            "twice": repeated(ids),
            "nameless": np.flatnonzero(ids == NONE),
        }


def positions_of(ids: Int64[np.ndarray, " some"], listed: list[int]) -> Int64[np.ndarray, " some"]:
    """The place of each id in the list; -1 for those that are not in it."""
    known = np.asarray([*listed, NONE], np.int64)
    order = np.argsort(known)
    place = order[np.minimum(np.searchsorted(known, ids, sorter=order), len(listed))]
    return np.where((known[place] == ids) & (ids != NONE), place, -1)


def repeated(ids: Int64[np.ndarray, " some"]) -> Int64[np.ndarray, " fewer"]:
    found, counts = np.unique(ids[ids != NONE], return_counts=True)
    return found[counts > 1]


def whole(value: Any) -> int:
    """A whole number of 64 bits, also one written 640.0; NONE for anything else."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and -(2**63) < value < 2**63 else NONE


def field(entry: dict, key: str, kind: type, path: Path) -> Any:
    value = entry.get(key)
    if kind is int and (number := whole(value)) != NONE:
        return number
    if kind is str and type(value) is str and is_text(value):
        return value
    expected = "a whole number" if kind is int else "text"
    raise DataError(f"{path}: expected {key!r} to be {expected}, found {value!r:.60} in {str(entry)[:120]}.")


def is_text(value: str) -> bool:
    """False for half a surrogate pair, which JSON allows and no file name can hold."""
    return value == value.encode(errors="ignore").decode()
