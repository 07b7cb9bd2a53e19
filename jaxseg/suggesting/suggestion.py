"""A config that suits a data set and this machine, and the reason of each of its settings."""

import dataclasses
import re
import textwrap
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import jax

from jaxseg.check.findings import plain
from jaxseg.config import Config
from jaxseg.data.census import class_pixels
from jaxseg.data.classes import Mode
from jaxseg.data.loader import steps_per_epoch
from jaxseg.data.samples import Data, Samples, open_split
from jaxseg.errors import InputError, counted
from jaxseg.run import write_whole
from jaxseg.suggesting import choices, training
from jaxseg.suggesting.choices import Choice
from jaxseg.suggesting.config_file import config_text, written
from jaxseg.suggesting.survey import Survey, object_sides, survey

GENERIC = {"annotations", "images", "train", "train2017", "data", "dataset", "coco", ""}
"""Names that say nothing of a data set."""


@dataclass(frozen=True, repr=False)
class Suggestion:
    """It shows itself as a table.

    Attributes:
        config: complete; it can be given to `jaxseg.train.fit`.
        choices: its settings with their reasons, in their order.
        name: of the data set.
    """

    config: Config
    choices: tuple[Choice, ...]
    name: str
    images: int

    def text(self, file: str = "") -> str:
        """The config as a Python file, with the reasons as comments."""
        heading = f"Suggested for {self.name}, {counted(self.images, 'training image')}. Change what you know better."
        command = f"python -m jaxseg.train --config {file or f'{self.name}.py'}"
        return config_text(self.config, {c.setting: c.reason for c in self.choices}, heading, command)

    def write(self, path: Path | str) -> Path:
        """The file; never over another.

        Raises:
            InputError: if there is something at the path.
        """
        path = Path(path)
        if path.exists():
            raise InputError(f"{path} is there already: remove it, or name another file by --config NEW.py.")
        write_whole(path, lambda file: file.write_text(self.text(str(path)), encoding="utf-8"))
        return path

    def __repr__(self) -> str:
        width = max(len(choice.setting) for choice in self.choices)
        lines = []
        for setting, value, reason in self.choices:
            told = plain(" ".join(written(value, {}).replace("jaxseg.", "").split()), 200)
            lines.append(f"{setting.ljust(width)}  {told}")
            margin = " " * (width + 4)
            lines += textwrap.wrap(plain(reason, 1000), 110, initial_indent=margin, subsequent_indent=margin)
        return "\n".join(lines)


def suggest(data: Data | None = None, keep: Collection[str] = ()) -> Suggestion:
    """Look at a data set, and choose settings for it and for the memory of this machine's devices.

    Args:
        data: where it is; what differs from the defaults stays as it is.
        keep: names of settings of `data` that stay too.

    Raises:
        InputError: if the data can't be used, or no network fits into memory.
    """
    data = Data() if data is None else data
    usual = Data()
    kept = {f"data.{f.name}" for f in dataclasses.fields(Data) if getattr(data, f.name) != getattr(usual, f.name)}
    return Chooser(data, frozenset(kept | {f"data.{name}" for name in keep})).suggestion()


class Chooser:
    """Takes one choice after the other, each by what is chosen before."""

    def __init__(self, data: Data, kept: frozenset[str]) -> None:
        """`kept` are the settings that stay as they are in `data`."""
        self.found: Survey = survey(data)
        self.config = Config(data=data)
        self.kept = kept
        self.choices: dict[str, Choice] = {}
        self.platform = jax.local_devices()[0].platform

    def take(self, new: Iterable[Choice]) -> None:
        """The later of two choices counts; what was given stays."""
        for choice in new:
            setting, value, _ = choice
            part, _, name = setting.rpartition(".")
            if setting in self.kept or (setting == "data.classes" and "data.merge" in self.kept):
                value = getattr(self.config.data, name)
                choice = Choice(setting, value, "as given")
            self.choices[setting] = choice
            inside = self.config if not part else getattr(self.config, part)
            changed = replace(inside, **{name: value})
            self.config = changed if not part else replace(self.config, **{part: changed})

    def suggestion(self) -> Suggestion:
        """All of them."""
        found = self.found
        self.take(choices.splits(found))
        if self.kept.isdisjoint({"data.classes", "data.merge"}):
            self.take(choices.classes(found))
        else:
            self.take([Choice("data.classes", None, "as given")])
        self.take(choices.mode(len(self.small("multiclass").table.drawn)))
        self.take([choices.channels(found)])
        small = self.small(self.config.data.mode)
        pixels = class_pixels(small)
        self.size(small, training.share_of(pixels))
        samples = open_split(self.config.data, "train")
        self.take([training.batch(samples.sampling.total)])
        self.config = replace(self.config, model=self.config.model.clone(out_channels=samples.table.out_channels))
        self.take(training.network(self.config, self.poolings, self.platform))
        self.take([training.loss(pixels)])
        data = self.config.data
        self.take([training.augment(samples.table.drawn, data.channels)])
        self.take([training.epochs(steps_per_epoch(samples, self.config.batch_size))])
        self.take(training.constant())
        self.take(choices.cache(found, data.height, data.width, data.channels, data.crop is not None))
        order = [f.name for f in dataclasses.fields(Config)]
        ordered = sorted(self.choices.values(), key=lambda c: order.index(c.setting.split(".")[0]))
        return Suggestion(self.config, tuple(ordered), name_of(data), len(samples))

    def small(self, mode: Mode) -> Samples:
        """The training split at a size at which masks are drawn in no time."""
        return open_split(replace(self.config.data, mode=mode, height=64, width=64), "train")

    def size(self, samples: Samples, foreground: float) -> None:
        """Height, width, windows, and how often the network may halve them."""
        sides = object_sides(samples)
        size = choices.best_size(self.found.size, sides, choices.side_of(self.platform))
        if {"data.height", "data.width"} & self.kept:
            size = size._replace(crop=None, crops=1)
        self.take(choices.sizes(self.found, size, sides, self.platform, foreground))
        self.poolings = choices.halvings(self.config.data.height, self.config.data.width)


def name_of(data: Data) -> str:
    """A file's name from where the data set lies."""
    place = data.root or data.train_json
    parts = [] if place is None else [place.absolute().stem if place.suffix == ".json" else place.absolute().name]
    parts += [] if place is None else [parent.name for parent in place.absolute().parents]
    names = (re.sub(r"\W+", "_", part.removeprefix("instances_")).strip("_").lower() for part in parts)
    return next((name for name in names if name not in GENERIC), "suggested") if place else "sample"
