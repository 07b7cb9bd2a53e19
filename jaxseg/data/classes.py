"""The class table: which COCO categories are drawn, as which class."""

import difflib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64, UInt8

from jaxseg.arrays import MAX_CLASSES
from jaxseg.data.coco import CocoIndex, DataError

Mode = Literal["binary", "multiclass"]
NAMED = 5  # a binary class of more categories is named "foreground"


@dataclass(frozen=True)
class ClassTable:
    """Names of the classes 1, 2, ...; class 0 is the background.

    `drawn` are the category names that are drawn. In binary mode they all become class 1; its name joins theirs if
    they are few.
    """

    drawn: tuple[str, ...]
    mode: Mode

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each class, the background first."""
        together = " + ".join(self.drawn) if len(self.drawn) <= NAMED else "foreground"
        return ("background", *((together,) if self.mode == "binary" else self.drawn))

    @property
    def out_channels(self) -> int:
        """Channels a network needs: one logit for binary, one for each class and the background otherwise."""
        return 1 if self.mode == "binary" else len(self.names)

    def lookup(self, index: CocoIndex) -> UInt8[np.ndarray, " categories"]:
        """The class of each category of this file by its position, 0 for those not drawn."""
        of_name = {name: 1 if self.mode == "binary" else i for i, name in enumerate(self.drawn, 1)}
        return np.asarray([of_name.get(category.name, 0) for category in index.categories], np.uint8)


def choose_classes(index: CocoIndex, classes: tuple[str, ...] | None, mode: Mode) -> ClassTable:
    """The table for the chosen names, in their order; None chooses every category (one name, one class).

    Raises:
        DataError: for a name that no category has, with the nearest ones; for a name given twice; for too many.
    """
    known = tuple(dict.fromkeys(category.name for category in index.categories))
    chosen = known if classes is None else classes
    if not chosen:
        raise DataError(f"{index.path}: no class to learn; it has the categories {', '.join(known) or '(none)'}.")
    for name in chosen:
        if name not in known:
            folded = {other.casefold(): other for other in known}
            near = [folded[n] for n in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"It has: {', '.join(known)}."
            raise DataError(f"{index.path} has no category named {name!r}. {hint}")
        if chosen.count(name) > 1:
            raise DataError(f"data.classes names {name!r} twice.")
    if mode == "multiclass" and len(chosen) > MAX_CLASSES:
        raise DataError(f"{len(chosen)} classes: a mask holds at most {MAX_CLASSES}. Choose fewer by data.classes.")
    return ClassTable(tuple(chosen), mode)


def images_with(index: CocoIndex, table: ClassTable) -> Int64[np.ndarray, " positions"]:
    """Positions of the images that hold at least one drawn category, in the order of the file."""
    drawn = np.append(table.lookup(index) > 0, False)[index.annotation_category]  # -1, unknown, is not drawn
    owner = np.repeat(np.arange(len(index)), np.diff(index.annotation_offsets))
    return np.unique(owner[drawn])
