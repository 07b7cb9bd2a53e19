"""`Data`: the settings of a data set."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

from tyro.conf import UseAppendAction

from jaxseg.data.classes import Merge, Mode
from jaxseg.data.coco import DataError
from jaxseg.data.geometry import Placement, Resize, place, scaled_placement
from jaxseg.data.images import Decoder
from jaxseg.data.masks import Crowds, MaskRules, Overlap, Rasterize, Unknown

PATHS = ("root", "_json", "_images", "_folder")


@dataclass(frozen=True)
class Data:
    """Which images, which classes, and how they become arrays.

    Attributes:
        root: a folder in COCO's layout; None: the embedded sample.
        train_json: the training annotations, where they lie elsewhere.
        train_images: the folder of the training images; None: beside the JSON, or by COCO's layout.
        val_json: the validation annotations, where they lie elsewhere.
        val_images: the folder of the validation images; None: beside the JSON, or by COCO's layout.
        test_json: the test annotations, for data sets that have them.
        test_images: the folder of the test images; None: beside the JSON, or by COCO's layout.
        val_fraction: this share of the training file's images becomes the validation split.
        test_fraction: this share of the training file's images becomes the test split.
        split_seed: which images those are.
        classes: names of categories or supercategories, in the order of their class indices; None: all categories, and
            every image.
        merge: several categories as one class: its name, then those of its categories or supercategories; in a file
            `merge=(("pet", "cat", "dog"), ("road", "car", "bus"))`.
        negatives: this share of the samples of an epoch, and of a validation, are images without the chosen classes;
            None: none of them where `classes` are chosen, and all of them otherwise.
        balance: images of a class that fewer than this share of the images hold come sqrt(balance / share) times as
            often in an epoch (LVIS's repeat factor); 0: every image once. Classes count apart in binary mode too.
        mode: `binary`: any chosen class against the rest. `multiclass`: told apart.
        height: of what the network sees, in pixels.
        width: of what the network sees, in pixels.
        channels: 3 for RGB, 1 for grey.
        resize: `stretch` to that size, or `letterbox`: keep the proportions, with black, which counts nowhere, around.
        decoder: of JPEGs: `pillow`, `simplejpeg` (extra `fast`), or `auto`: the latter if it is installed when a run
            begins, which then keeps to it.
        overlap: `max_index`: the higher class wins a pixel. `smallest_on_top`, `last_on_top`: that object.
        crowds: crowd regions as `foreground`, as `void` (count nowhere), or `drop` (background).
        unknown_category: an annotation whose category the file does not list, as `background`, `void` or `error`.
        rasterize: outlines scaled and drawn at the `target` size, or drawn at `full` size and reduced.
        on_error: an unreadable image: `raise`, or `skip`: a sample of weight 0, listed at the end. Image and
            category entries that can't be used: `raise`, or `skip`: left out.
        retries: of an image that can't be read or is missing, in growing pauses, before `on_error` applies.
        read_timeout: seconds that a sample may take; a network mount that stalls is unreadable then. None: no limit.
        threads: that load; 0: in the main thread.
        workers: processes that load the training batches instead; 0: threads only.
        cache: keep decoded samples, so that later epochs need not decode: in `memory` while this run lasts, or on
            `disk`, for the next runs too.
        cache_folder: where on disk; None: in the user's cache.
        crop: for large pictures: see windows of `height` x `width`, cut at random in training, of the picture with its
            sides multiplied by this (1: its own size), in place of the whole picture by `resize`; None: no windows.
            Validation sees the windows that cover each picture, and each of its pixels counts once.
        crop_foreground: this share of the random windows is made to show a class, where the picture has one.
        crops: random windows of each picture in an epoch.
    """

    root: Path | None = None
    train_json: Path | None = None
    train_images: Path | None = None
    val_json: Path | None = None
    val_images: Path | None = None
    test_json: Path | None = None
    test_images: Path | None = None
    val_fraction: float = 0.0
    test_fraction: float = 0.0
    split_seed: int = 0
    classes: tuple[str, ...] | None = None
    merge: Annotated[Merge, UseAppendAction] = ()
    negatives: float | None = None
    balance: float = 0.0
    mode: Mode = "binary"
    height: int = 224
    width: int = 224
    channels: Literal[1, 3] = 3
    resize: Resize = "stretch"
    decoder: Decoder = "auto"
    overlap: Overlap = "max_index"
    crowds: Crowds = "foreground"
    unknown_category: Unknown = "background"
    rasterize: Rasterize = "target"
    on_error: Literal["raise", "skip"] = "raise"
    retries: int = 3
    read_timeout: float | None = 60.0
    threads: int = 4
    workers: int = 0
    cache: Literal["none", "memory", "disk"] = "none"
    cache_folder: Path | None = None
    crop: float | None = None
    crop_foreground: float = 0.0
    crops: int = 1

    def __post_init__(self) -> None:
        """A config file may write paths as text, and classes as lists."""
        for name, value in vars(self).items():
            if isinstance(value, str) and name.endswith(PATHS):
                object.__setattr__(self, name, Path(value))
        if isinstance(self.classes, list):
            object.__setattr__(self, "classes", tuple(self.classes))
        rows = tuple(tuple(row) if isinstance(row, list) else row for row in self.merge)
        object.__setattr__(self, "merge", rows)

    @property
    def uses_sample(self) -> bool:
        """True if no data set is named, which means the embedded sample."""
        return self.root is self.train_json is self.val_json is self.test_json is None

    @property
    def rules(self) -> MaskRules:
        """How annotations become masks."""
        return MaskRules(self.overlap, self.crowds, self.unknown_category, self.rasterize)

    def placement(self, full: tuple[int, int]) -> Placement:
        """Where a picture of this size lies in what the network sees; with `crop`, all of it, before it is cut."""
        if self.crop is not None:
            return scaled_placement(full, self.crop)
        return place(full, (self.height, self.width), self.resize)


def check_settings(data: Data) -> None:
    """What a config file can get wrong; a command line can't."""
    for name, hint in get_type_hints(Data).items():
        value, choices = getattr(data, name), get_args(hint)
        if get_origin(hint) is Literal and value not in choices:
            raise DataError(f"data.{name} is {value!r}: expected {' or '.join(map(repr, choices))}.")
    if isinstance(data.classes, str):
        raise DataError(f"data.classes is the text {data.classes!r}: one class is written ({data.classes!r},).")
    if any(isinstance(row, str) for row in data.merge):
        raise DataError(f"data.merge is {data.merge!r}: one merged class is written (('pet', 'cat', 'dog'),).")
    least = {"height": 1, "width": 1, "threads": 0, "workers": 0, "split_seed": 0, "retries": 0, "crops": 1}
    for name, bound in least.items():
        if getattr(data, name) < bound:
            raise DataError(f"data.{name} is {getattr(data, name)}: expected at least {bound}.")
    if data.read_timeout is not None and not data.read_timeout > 0:
        raise DataError(f"data.read_timeout is {data.read_timeout}: expected seconds, more than 0, or None.")
    if data.negatives is not None and not 0 <= data.negatives < 1:
        raise DataError(f"data.negatives is {data.negatives}: expected a share of at least 0 and below 1, such as 0.1.")
    if not 0 <= data.balance <= 1:
        raise DataError(f"data.balance is {data.balance}: expected a share from 0 to 1, such as 0.1.")
    check_crops(data)


def check_crops(data: Data) -> None:
    """What can be wrong with windows."""
    if data.crop is None:
        if data.crop_foreground or data.crops > 1:
            raise DataError("data.crop_foreground and data.crops are of windows: give --data.crop 1 with them.")
        return
    if not 0 < data.crop < math.inf:
        raise DataError(f"data.crop is {data.crop}: expected what a picture's sides are multiplied by, such as 0.5.")
    if not 0 <= data.crop_foreground <= 1:
        raise DataError(f"data.crop_foreground is {data.crop_foreground}: expected a share from 0 to 1, such as 0.33.")
    if data.cache != "none":
        raise DataError(
            f"data.cache {data.cache} keeps samples of one size to show them again; with data.crop each epoch cuts "
            "others. Take --data.cache none; pictures saved at a smaller size, with --data.crop 1, decode faster."
        )
