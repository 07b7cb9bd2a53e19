"""The entries of one COCO file, each checked; what is sound of them as an index."""

import hashlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Float64

from jaxseg.check import entry_kinds as kinds
from jaxseg.check.findings import Fault, Findings, shown
from jaxseg.check.segments import reasons
from jaxseg.data.coco import CocoIndex
from jaxseg.data.geometry import MAX_PIXELS
from jaxseg.data.layout import image_path
from jaxseg.data.rows import NONE, Rows, field, positions_of, whole
from jaxseg.data.stream import entries
from jaxseg.errors import DataError

LARGEST = 2**31  # an image's side ends below it, in the index
FINITE = 1e300


@dataclass(frozen=True)
class Table:
    """What is sound of one COCO file: its index, and the areas of its annotations, NaN where there is none.

    `named` are the image files of all entries, sound or not. Of a file that breaks off, not `whole`, this is a part.
    """

    index: CocoIndex
    areas: Float64[np.ndarray, " annotations"]
    named: frozenset[str]
    whole: bool


def read_table(path: Path, folder: Path, findings: Findings, split: str, watch: Callable[[int], object]) -> Table:
    """Read a COCO file, whatever is in it; `watch` is told how many bytes were read."""
    reading, digest = Reading(path, folder), hashlib.sha256()

    def watched(raw: bytes) -> None:
        digest.update(raw)
        watch(len(raw))

    whole = True
    try:
        if not path.is_file():  # a pipe would wait for ever
            raise DataError(f"{path} is no file.")
        for key, entry in entries(path, watched):
            findings.extend(split, reading.add(key, entry))
    except DataError as error:
        whole = False
        said = str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ")
        findings.add(split, Fault(kinds.BROKEN_JSON, path.name, said))
    table = reading.table(digest.hexdigest(), whole)
    findings.extend(split, reading.repeated(table.index))
    if whole:
        findings.extend(split, reading.strangers(table.index))
    if table.index.annotation_faulty.any() or table.index.annotation_empty.any():
        findings.extend(split, reading.undrawable(table.index))
    return table


class Reading:
    """Grows the index, and tells the faults of each entry."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder, self.rows = path, folder, Rows(path)
        self.owner: dict[str, int | str] = {}  # the first image of each file
        self.unusable: set[int] = set()  # ids of images that the index leaves out
        self.numberless = False  # some image has no number as its id
        self.areas = array("d")

    def add(self, key: str, entry: dict[str, Any]) -> list[Fault]:
        """The faults of one entry of the list `key`."""
        return {"images": self.image, "annotations": self.annotation, "categories": self.category}[key](entry)

    def image(self, entry: dict[str, Any]) -> list[Fault]:
        known, bad = len(self.rows.image_id), self.rows.bad_images.number
        self.rows.add_image(entry)
        id_, name = self.read(entry, "id", int), self.read(entry, "file_name", str)
        place = shown(entry.get("id")) if id_ is None else id_
        located = self.located(name) if name is not None else ""
        first = self.owner.setdefault(located or f"{name}", place)
        faults = []
        if id_ is None:
            self.numberless = True
            faults.append(Fault(kinds.BAD_IMAGE_ID, place, f"file_name {shown(entry.get('file_name'))}"))
        elif self.rows.bad_images.number > bad:
            if id_ in self.rows.image_id or id_ in self.unusable:
                return [Fault(kinds.DUPLICATE_IMAGE, id_, f"file_name {shown(entry.get('file_name'))}")]
            self.unusable.add(id_)
        if name is None:
            faults.append(Fault(kinds.BAD_FILE_NAME, place, shown(entry.get("file_name"))))
        elif not located:
            faults.append(Fault(kinds.ESCAPES, place, shown(name)))
        elif first != place:
            faults.append(Fault(kinds.SHARED_FILE, place, f"{shown(name)} is the file of image {first} too"))
        height, width = self.read(entry, "height", int) or 0, self.read(entry, "width", int) or 0
        if not (0 < height < LARGEST and 0 < width < LARGEST):
            size = f"height {shown(entry.get('height'))}, width {shown(entry.get('width'))}"
            faults.append(Fault(kinds.BAD_SIZE, place, size))
        elif height * width > MAX_PIXELS or (not faults and len(self.rows.image_id) == known):
            faults.append(Fault(kinds.HUGE, place, f"{height} x {width} (height x width)"))
        return faults

    def category(self, entry: dict[str, Any]) -> list[Fault]:
        bad = self.rows.bad_categories.number
        self.rows.add_category(entry)
        if self.rows.bad_categories.number == bad:
            return []
        id_, name = self.read(entry, "id", int), self.read(entry, "name", str)
        if id_ is None or name is None:
            return [Fault(kinds.BAD_CATEGORY, shown(entry))]
        return [Fault(kinds.DUPLICATE_CATEGORY, id_, f"{shown(self.rows.categories[id_].name)} and {shown(name)}")]

    def annotation(self, entry: dict[str, Any]) -> list[Fault]:
        self.rows.add_annotation(entry)
        id_ = self.rows.annotation_id[-1]
        box, area, crowd = entry.get("bbox"), entry.get("area"), entry.get("iscrowd", 0)
        segmentation = entry.get("segmentation")
        self.areas.append(area if is_size(area) else np.nan)
        faults = []
        if id_ == NONE:
            id_ = -1
            faults.append(
                Fault(kinds.BAD_ANNOTATION_ID, shown(entry.get("id")), f"image {shown(entry.get('image_id'))}")
            )
        if crowd is not None and crowd not in (0, 1):
            faults.append(Fault(kinds.CROWD_FLAG, id_, shown(crowd)))
        elif isinstance(segmentation, dict) and not crowd:
            faults.append(Fault(kinds.RLE_NOT_CROWD, id_))
        elif isinstance(segmentation, list) and segmentation and crowd:
            faults.append(Fault(kinds.CROWD_POLYGON, id_))
        if box not in (None, []) and not is_box(box):
            faults.append(Fault(kinds.BAD_BOX, id_, shown(box)))
        if area is not None and not is_size(area):
            faults.append(Fault(kinds.BAD_AREA, id_, shown(area)))
        return faults

    def strangers(self, index: CocoIndex) -> Iterator[Fault]:
        """Annotations whose image or category the file does not list at all."""
        owners, ids = np.frombuffer(self.rows.image_of, np.int64), np.frombuffer(self.rows.annotation_id, np.int64)
        lost = positions_of(owners, [*self.rows.image_id, *self.unusable]) < 0
        for owner, id_ in zip(owners[lost].tolist(), ids[lost].tolist(), strict=True):
            if owner != NONE:
                yield Fault(kinds.UNKNOWN_IMAGE, max(id_, -1), f"image_id {owner}")
            elif not self.numberless:
                yield Fault(kinds.UNKNOWN_IMAGE, max(id_, -1), "image_id is no whole number")
        for id_ in index.annotation_id[index.annotation_category < 0].tolist():
            yield Fault(kinds.UNKNOWN_CATEGORY, id_)

    def repeated(self, index: CocoIndex) -> Iterator[Fault]:
        """Ids that several annotations have."""
        yield from (Fault(kinds.DUPLICATE_ANNOTATION, id_) for id_ in index.twice.tolist())

    def undrawable(self, index: CocoIndex) -> Iterator[Fault]:
        """Why annotations, or parts of them, can't be drawn: the file is read again for them."""
        faulty = index.annotation_faulty | index.annotation_empty
        ids = frozenset(index.annotation_id[faulty].tolist())
        try:
            for key, entry in entries(self.path):
                id_ = whole(entry.get("id"))
                position = self.rows.image_id.get(whole(entry.get("image_id")))
                if key == "annotations" and max(id_, -1) in ids and position is not None:
                    size = self.rows.height[position], self.rows.width[position]
                    yield from reasons(entry.get("segmentation"), size, max(id_, -1))
        except DataError:  # told already
            return

    def table(self, digest: str, whole: bool) -> Table:
        """What was read."""
        index = CocoIndex(self.path, digest, **self.rows.joined())
        position = positions_of(np.frombuffer(self.rows.image_of, np.int64), list(self.rows.image_id))
        order = np.argsort(position, kind="stable")[np.count_nonzero(position < 0) :]
        return Table(index, np.frombuffer(self.areas, np.float64)[order], frozenset(self.owner), whole)

    def read(self, entry: dict[str, Any], key: str, kind: type) -> Any:
        """A value as the index reads it; None for what it refuses."""
        try:
            return field(entry, key, kind, self.path)
        except (ValueError, RecursionError):  # a DataError; or its message could not be put into words
            return None

    def located(self, name: str) -> str:
        """The file of an image; empty if it is not in the folder."""
        try:
            return str(image_path(self.folder, name))
        except DataError:
            return ""


def is_finite(value: Any) -> bool:
    return type(value) in (int, float) and -FINITE < value < FINITE


def is_size(value: Any) -> TypeGuard[float]:
    return is_finite(value) and value >= 0


def is_box(value: Any) -> TypeGuard[list[float]]:
    return isinstance(value, list) and len(value) == 4 and all(map(is_finite, value)) and min(value[2:]) >= 0
