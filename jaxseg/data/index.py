"""The index of a COCO file: flat arrays, with random access by image position."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, Shaped, UInt8

from jaxseg.data.mapped import Mapped
from jaxseg.data.rows import Category, Unusable
from jaxseg.data.segmentations import farthest
from jaxseg.errors import DataError, counted


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


@dataclass(frozen=True)
class CocoIndex:
    """What a COCO file says, flat: annotations sorted by image, their outlines and run lengths end to end.

    Annotations of image `i` are `annotation_offsets[i]:annotation_offsets[i + 1]`, and so on downwards. The arrays
    are memory maps of a kept file, which a pickled index names; only where none could be kept do they travel.
    """

    path: Path
    digest: str
    categories: tuple[Category, ...]
    bad_images: Unusable
    bad_categories: Unusable
    image_id: Int64[np.ndarray, " images"]
    image_height: Int32[np.ndarray, " images"]
    image_width: Int32[np.ndarray, " images"]
    names: UInt8[np.ndarray, " characters"]
    name_offsets: Int64[np.ndarray, " images+1"]
    annotation_offsets: Int64[np.ndarray, " images+1"]
    annotation_id: Int64[np.ndarray, " annotations"]  # -1 where it is no whole number
    annotation_category: Int32[np.ndarray, " annotations"]
    annotation_crowd: Bool[np.ndarray, " annotations"]
    annotation_box: Float64[np.ndarray, "annotations 4"]  # x, y, width, height as the file says; NaN for none
    annotation_faulty: Bool[np.ndarray, " annotations"]
    annotation_empty: Bool[np.ndarray, " annotations"]
    outline_offsets: Int64[np.ndarray, " annotations+1"]
    point_offsets: Int64[np.ndarray, " bounds"]
    points: Shaped[np.ndarray, "points 2"]  # x, y in pixels after division by the scale
    point_scale: int
    run_offsets: Int64[np.ndarray, " annotations+1"]
    runs: Int32[np.ndarray, " runs"]
    orphans: Int64[np.ndarray, " orphans"]  # ids of annotations whose image the index does not have
    odd_crowds: Int64[np.ndarray, " odd"]  # ids of annotations whose `iscrowd` is not 0 or 1
    twice: Int64[np.ndarray, " repeated"]  # ids of several annotations
    nameless: Int64[np.ndarray, " nameless"]  # places in the file of annotations without an id
    kept: Mapped | None = None
    unkept: str = ""  # why there is no kept file

    def __len__(self) -> int:
        return len(self.image_id)

    def rows(self, name: str, first: int, last: int) -> Shaped[np.ndarray, "rows ..."]:
        """Of one of the arrays; read from the kept file, which costs a process no memory."""
        return self.kept.rows(name, first, last) if self.kept else getattr(self, name)[first:last]

    def file_name(self, position: int) -> str:
        """The image's file, relative to the images folder."""
        return bytes(self.names[self.name_offsets[position] : self.name_offsets[position + 1]]).decode()

    def annotations(self, position: int) -> Iterator[Annotation]:
        """The annotations of one image, in the order of the file; parts that failed the checks are left out.

        Raises:
            DataError: if the kept file has been damaged since it was made: its points would kill the process.
        """
        first, last = self.rows("annotation_offsets", position, position + 2).tolist()
        outlines = self.rows("outline_offsets", first, last + 1).tolist()
        ends = self.rows("point_offsets", outlines[0], outlines[-1] + 1).tolist()
        run_ends = self.rows("run_offsets", first, last + 1).tolist()
        points = self.rows("points", ends[0], ends[-1]) / self.point_scale  # double: float32 would move pixels
        runs = self.rows("runs", run_ends[0], run_ends[-1]).astype(np.int64)
        size = np.array([self.image_height[position], self.image_width[position]], np.int64)
        if not (np.abs(points) <= farthest(size)).all():
            raise DataError(f"{self.kept and self.kept.path} is damaged. Delete it; it will be made again.")
        ids, categories, crowds = (
            self.rows(name, first, last).tolist()
            for name in ("annotation_id", "annotation_category", "annotation_crowd")
        )
        for n in range(last - first):
            own = range(outlines[n] - outlines[0], outlines[n + 1] - outlines[0])
            polygons = [points[ends[o] - ends[0] : ends[o + 1] - ends[0]].ravel() for o in own]
            rle = runs[run_ends[n] - run_ends[0] : run_ends[n + 1] - run_ends[0]]
            yield Annotation(ids[n], categories[n], crowds[n], polygons, rle if len(rle) else None)

    def bad_annotations(self) -> Int64[np.ndarray, " bad"]:
        """Ids of the annotations of which a part can't be drawn: not finite, too short, absurd, wrong run lengths."""
        return self.annotation_id[self.annotation_faulty]

    def empty_annotations(self) -> Int64[np.ndarray, " empty"]:
        """Ids of the annotations that have no segmentation at all, such as those of a file of boxes."""
        return self.annotation_id[self.annotation_empty]

    def warnings(self) -> list[str]:
        """What in the file is not taken as it stands, a line a kind."""
        kinds = (
            (
                "annotation",
                "with a part left out that can't be drawn (not finite, too short, absurdly far out, wrong run lengths)",
                self.bad_annotations(),
            ),
            ("annotation", "without segmentation: nothing is drawn", self.empty_annotations()),
            ("annotation", "of images that the file does not list, or that can't be used: left out", self.orphans),
            (
                "annotation",
                "of categories that the file does not list, or that can't be used: see data.unknown_category",
                self.annotation_id[self.annotation_category < 0],
            ),
            ("annotation", "with an 'iscrowd' that is not 0 or 1: taken as 0", self.odd_crowds),
            ("annotation id", "given to several annotations: all are drawn", self.twice),
            ("annotation", "without a whole number as 'id': drawn, and told as id -1", self.nameless),
        )
        lines = []
        for noun, what, found in kinds:
            label = "place" if found is self.nameless else "id"
            label = f"first {label}s" if len(found) > 1 else label
            if len(found):
                first = ", ".join(map(str, found[:5]))
                lines.append(f"{self.path.name}: {counted(len(found), noun)} {what}; {label} {first}")
        lines += [
            f"{self.path.name}: {counted(bad.number, noun)} left out that can't be used; first {bad.first[0]}"
            for noun, bad in (("image", self.bad_images), ("category", self.bad_categories))
            if bad.number
        ]
        if self.unkept:
            lines.append(
                f"{self.path.name}: its index could not be kept ({self.unkept}), so each start reads the file anew. "
                "Set JAXSEG_CACHE to a folder with room."
            )
        return lines
