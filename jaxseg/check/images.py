"""All images of one split with their annotations, checked by several threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int64

from jaxseg.arrays import VOID
from jaxseg.check.content import Content
from jaxseg.check.entries import Table
from jaxseg.check.files import Folder, examine_file
from jaxseg.check.findings import Fault, Kind, shown
from jaxseg.check.outlines import TWICE, examine_shape
from jaxseg.data.classes import ClassTable
from jaxseg.data.coco import Annotation
from jaxseg.data.geometry import Placement
from jaxseg.data.layout import image_path
from jaxseg.data.masks import draw_mask
from jaxseg.data.settings import Data
from jaxseg.errors import DataError

BATCH = 8  # images that a thread takes at a time

NO_ANNOTATION = Kind(
    "image-without-annotation",
    "note",
    "images",
    "An image has no annotation.",
    "Takes it as background where data.classes is None; does not use it where classes are chosen.",
    "Nothing, if nothing is on it; if it was forgotten, annotate it or take it out.",
)
CHECK_FAILED = Kind(
    "check-failed",
    "error",
    "images",
    "The check of an image failed in a way that jaxseg did not foresee.",
    "Is likely to fail at it too.",
    "Please report it, with the image and its entry.",
)


class Examined(NamedTuple):
    """What was found of one image."""

    faults: list[Fault]
    size: tuple[int, int] = (0, 0)
    content: Content | None = None
    counts: Int64[np.ndarray, " values"] | None = None
    objects: Sequence[tuple[int, int]] = ()


class Examination(NamedTuple):
    """One split being checked, as a run with this `data` would use it; without a folder, no image is read."""

    table: Table
    folder: Folder | None
    classes: ClassTable | None
    data: Data
    quick: bool

    def run(self, threads: int) -> Iterator[Examined]:
        """Every image, in the order of the file."""
        positions = range(len(self.table.index))
        batches = (positions[start : start + BATCH] for start in range(0, len(positions), BATCH))
        with ThreadPoolExecutor(threads) as executor:
            for examined in in_order(executor, self.several, batches, ahead=4 * threads):
                yield from examined

    def several(self, positions: Iterable[int]) -> list[Examined]:
        return [self.guarded(position) for position in positions]

    def guarded(self, position: int) -> Examined:
        try:
            return self.one(position)
        except Exception as error:  # a data set must not stop its own check
            id_ = int(self.table.index.image_id[position])
            return Examined([Fault(CHECK_FAILED, id_, f"{type(error).__name__}: {shown(str(error))}")])

    def one(self, position: int) -> Examined:
        index = self.table.index
        id_, name = int(index.image_id[position]), index.file_name(position)
        full = int(index.image_height[position]), int(index.image_width[position])
        placement = self.data.placement(full)
        annotations = list(index.annotations(position))
        faults, content = [], None
        path = self.path_of(name)
        if path is not None and self.folder is not None:
            seen = examine_file(path, id_, placement, self.data, self.quick, self.folder)
            faults += seen.faults
            content = Content(id_, str(path), (seen.content, seen.look)) if seen.content else None
        if not annotations and self.table.whole:
            faults.append(Fault(NO_ANNOTATION, id_, name))
        areas: list[int] = []
        first = int(index.annotation_offsets[position])
        for number, annotation in enumerate(annotations, first):
            box, area, whole = (
                index.annotation_box[number],
                self.table.areas[number],
                not index.annotation_faulty[number],
            )
            shape = examine_shape(annotation, box, float(area), placement, bool(whole))
            areas.append(shape.area)
            faults += shape.faults
        faults += repeated(annotations)
        return Examined(faults, full, content, *self.drawn(annotations, areas, placement))

    def path_of(self, name: str) -> Path | None:
        """The image's file; None where there is no folder, or the name leaves it, which is told already."""
        try:
            return image_path(self.folder.path, name) if self.folder else None
        except DataError:
            return None

    def drawn(
        self, annotations: list[Annotation], areas: list[int], placement: Placement
    ) -> tuple[Int64[np.ndarray, " values"] | None, list[tuple[int, int]]]:
        """Pixels of each value of the mask, class and area of each object; nothing for images that a run leaves out."""
        if self.classes is None:
            return None, []
        lookup = self.classes.lookup(self.table.index)
        labels = [int(lookup[annotation.category]) if annotation.category >= 0 else 0 for annotation in annotations]
        if self.data.classes is not None and not any(labels):
            return None, []
        mask = draw_mask(annotations, lookup, self.data.rules, placement)
        objects = [
            (label, area)
            for annotation, label, area in zip(annotations, labels, areas, strict=True)
            if label and area and not annotation.crowd
        ]
        return np.bincount(mask.ravel(), minlength=VOID + 1), objects


def repeated(annotations: list[Annotation]) -> Iterator[Fault]:
    """Annotations that say the same as one before them."""
    seen: dict[tuple, int] = {}
    for annotation in annotations:
        shape = (*(polygon.tobytes() for polygon in annotation.polygons),)
        if annotation.rle is not None:
            shape = (annotation.rle.tobytes(),)
        key = annotation.category, annotation.crowd, shape
        first = seen.setdefault(key, annotation.id)
        if shape and first != annotation.id:
            yield Fault(TWICE, annotation.id, f"as annotation {first}")


Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    executor: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """As `executor.map`, but no more than `ahead` results wait."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(executor.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
