"""One position of a split to one sample: image, mask and weight."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from jaxseg.arrays import VOID
from jaxseg.data.classes import ClassTable, choose_classes
from jaxseg.data.coco import CocoIndex, DataError, read_index
from jaxseg.data.geometry import Placement, framed
from jaxseg.data.images import decided, read_image
from jaxseg.data.kept import open_slots
from jaxseg.data.layout import Files, Split, image_path
from jaxseg.data.masks import draw_mask
from jaxseg.data.patience import Patience, Unavailable
from jaxseg.data.sampling import Sampling, plan
from jaxseg.data.settings import Data, check_settings
from jaxseg.data.slots import Slots, stamp_of
from jaxseg.data.splits import fraction_of, locate
from jaxseg.data.windows import Chance, Recent, Window, beside, count, drawn
from jaxseg.errors import counted

LAST = sys.maxsize  # no step comes after it


class Sample(TypedDict):
    """What batches are made of; `fault` is the text of what went wrong, empty where nothing did."""

    image: UInt8[np.ndarray, "height width channels"]
    mask: UInt8[np.ndarray, "height width"]
    weight: Float32[np.ndarray, ""]
    image_id: Int64[np.ndarray, ""]
    fault: str


class KnownFault(NamedTuple):
    """Why an image could not be read, and the step from which on it counts as unreadable."""

    step: int
    error: str


@dataclass(frozen=True)
class Samples:
    """The samples of one split, by position: a pure function of the files and settings.

    `positions` are those that an evaluation sees; training draws from `sampling`.
    Images named in `known_faults`, by id, are not read from their step on: a run that goes on repeats what it did.
    """

    data: Data
    files: Files
    index: CocoIndex
    table: ClassTable
    positions: Int64[np.ndarray, " samples"]
    sampling: Sampling
    known_faults: Mapping[int, KnownFault]
    patience: Patience
    slots: Slots | None = None
    recent: Recent | None = None

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def lookup(self) -> UInt8[np.ndarray, " categories"]:
        """The class of each of the file's categories."""
        return self.table.lookup(self.index)

    def __getitem__(self, index: int) -> Sample:
        return self.at(int(self.positions[index]))

    def at(self, position: int, step: int = LAST, window: Window | None = None) -> Sample:
        """The sample of an image of the index, which may be one that `positions` leaves out, at a step of the run.

        Of its `window`, where `data.crop` is set; without one, the whole picture at its scale, of whatever size.
        """
        image_id = int(self.index.image_id[position])
        known = self.known_faults.get(image_id)
        fault = known.error if known and known.step <= step else ""
        if not fault:
            try:
                pixels = self.pixels if window is None else partial(self.cut, window=window)
                return self.sample(*self.patience.call(pixels, position, self.path), image_id)
            except DataError as error:
                if isinstance(error, Unavailable):
                    self.check_folder(error)
                if self.data.on_error == "raise":
                    raise DataError(f"Image {image_id}: {error} To leave such out: --data.on-error skip") from error
                fault = str(error)
        image = np.zeros((self.data.height, self.data.width, self.data.channels), np.uint8)
        return self.sample(image, np.full(image.shape[:2], VOID, np.uint8), image_id, fault)

    def check_folder(self, error: Unavailable) -> None:
        """Raise a DataError if it is not one image that is missing, but all."""
        folder = self.files.images
        try:
            if self.patience.within(lambda _: bool(os.listdir(folder)), 0):
                return
        except (OSError, Unavailable):
            pass
        raise DataError(
            f"The images folder {folder} is gone, empty or does not answer: is its disk or mount there? "
            f"No image is left out for that: start again when it is. First: {error}"
        ) from error

    def pixels(
        self, position: int
    ) -> tuple[UInt8[np.ndarray, "height width channels"], UInt8[np.ndarray, "height width"]]:
        """Image and mask: kept from before, if the image's file is still the same, or made and kept."""
        stamp = stamp_of(self.path(position)) if self.slots else None
        if not (self.slots and stamp):
            return self.image(position), self.mask(position)
        found = self.slots.get(position, stamp)
        if found is None:
            found = self.image(position), self.mask(position)
            self.slots.put(position, stamp, *found)
        return found

    def cut(
        self, position: int, window: Window
    ) -> tuple[UInt8[np.ndarray, "height width channels"], UInt8[np.ndarray, "height width"]]:
        """Image and mask of a window; what another window of an evaluation counts is void."""
        target, whole = (self.data.height, self.data.width), self.placement(position)
        if isinstance(window, Chance):
            mask = self.mask(position)
            placement = drawn(whole, target, mask, window, self.data.crop_foreground)
            return self.read(position, placement), framed(mask[placement.shown], placement, VOID)
        image, mask = self.recent.get(position, self.pixels) if self.recent else self.pixels(position)
        placement, counted = beside(whole, target, window)
        due = np.full(target, VOID, np.uint8)
        due[counted] = framed(mask[placement.shown], placement, VOID)[counted]
        return framed(image[placement.shown], placement, 0), due

    def path(self, position: int) -> Path:
        """The image's file."""
        return image_path(self.files.images, self.index.file_name(position))

    def image(self, position: int) -> UInt8[np.ndarray, "height width channels"]:
        """The image at a position of the index, at the target size."""
        return self.read(position, self.placement(position))

    def read(self, position: int, placement: Placement) -> UInt8[np.ndarray, "height width channels"]:
        """The image, placed."""
        decoder = decided(self.data.decoder)
        return read_image(self.path(position), placement=placement, channels=self.data.channels, decoder=decoder)

    def mask(self, position: int) -> UInt8[np.ndarray, "height width"]:
        """The mask at a position of the index, at the target size."""
        annotations = self.index.annotations(position)
        return draw_mask(annotations, self.lookup, self.data.rules, self.placement(position))

    def placement(self, position: int) -> Placement:
        """Where the image, of the size that the JSON says, lies in what the network sees; with `crop`, all of it."""
        full = int(self.index.image_height[position]), int(self.index.image_width[position])
        return self.data.placement(full)

    @cached_property
    def windows(self) -> Int64[np.ndarray, " samples"]:
        """Of each of the `positions`, how many windows cover it; 1 without `crop`."""
        if self.data.crop is None:
            return np.ones(len(self), np.int64)
        target = (self.data.height, self.data.width)
        return np.asarray([count(self.placement(int(at)).inner, target) for at in self.positions], np.int64)

    def sample(self, image: np.ndarray, mask: np.ndarray, image_id: int, fault: str = "") -> Sample:
        weight = np.asarray(0 if fault else 1, np.float32)
        return Sample(image=image, mask=mask, weight=weight, image_id=np.asarray(image_id, np.int64), fault=fault)


def open_split(
    data: Data, split: Split, table: ClassTable | None = None, known_faults: Mapping[int, KnownFault] | None = None
) -> Samples:
    """The samples of a split; with the class `table` of another split where one is given.

    Raises:
        DataError: if files are missing or wrong, a class is unknown, or no image is left.
    """
    check_settings(data)
    data = replace(data, decoder=decided(data.decoder))
    files, part = locate(data, split)
    index = read_index(files.json)
    check_entries(index, data)
    table = table or choose_classes(index, data.classes, data.mode, data.merge)
    check_categories(index, table, data)
    within = np.arange(len(index)) if part is None else np.sort(fraction_of(index, part, data))
    everything = data.classes is None
    sampling = plan(index, table, within, everything=everything, negatives=data.negatives, balance=data.balance)
    sampling = replace(sampling, factors=sampling.factors * data.crops)
    if not len(sampling.positives):
        raise DataError(
            f"{files.json}: none of its {len(index)} images is left in split {split!r} with the classes "
            f"{', '.join(table.drawn)}. Choose other classes by --data.classes{', or other shares' if part else ''}."
        )
    if split == "train" and data.negatives and not len(sampling.negatives):
        raise DataError(
            f"data.negatives is {data.negatives}, but each of the {len(sampling.positives)} training images of "
            f"{files.json} holds one of the classes {', '.join(table.drawn)}. Leave data.negatives out, or choose "
            "fewer classes by --data.classes."
        )
    positions = sampling.evaluated(data.split_seed)
    images = sampling.images if split == "train" else len(positions)
    patience = Patience(data.retries, data.read_timeout)
    slots = open_slots(data, files, index, table.lookup(index), images)
    return Samples(
        data, files, index, table, positions, sampling, {} if known_faults is None else known_faults, patience, slots
    )


def check_entries(index: CocoIndex, data: Data) -> None:
    for noun, bad in (("category", index.bad_categories), ("image", index.bad_images)):
        if bad.number and data.on_error == "raise":
            several = f"So it is with {counted(bad.number, noun)}. " if bad.number > 1 else ""
            raise DataError(f"{bad.first[0]} {several}To leave such out: --data.on-error skip")


def check_categories(index: CocoIndex, table: ClassTable, data: Data) -> None:
    if not table.lookup(index).any():
        names = ", ".join(category.name for category in index.categories) or "(none)"
        raise DataError(f"{index.path} has none of the classes {', '.join(table.drawn)}; its categories are: {names}.")
    unknown = index.annotation_id[index.annotation_category < 0]
    if data.unknown_category == "error" and len(unknown):
        raise DataError(
            f"{index.path}: {counted(len(unknown), 'annotation')} of categories that the file does not list; ids "
            f"{', '.join(map(str, unknown[:5]))}{', ...' if len(unknown) > 5 else ''}. Mend them, or take them as "
            "--data.unknown-category background."
        )
