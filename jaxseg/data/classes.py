"""The class table: which COCO categories are drawn, as which class."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64, UInt8

from jaxseg.arrays import MAX_CLASSES
from jaxseg.data.coco import CocoIndex, DataError

Mode = Literal["binary", "multiclass"]
Merge = tuple[tuple[str, ...], ...]
NAMED = 5  # a binary class of more classes is named "foreground"


class UnknownCategory(DataError):
    """The annotations have no category of this name."""


@dataclass(frozen=True)
class ClassTable:
    """Names of the classes 1, 2, ...; class 0 is the background.

    `drawn` are the names of the classes that are drawn, `members` the names of the categories of each. In binary mode
    they all become class 1; its name joins theirs if they are few.
    """

    drawn: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
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
        of_name = {name: 1 if self.mode == "binary" else i for i, names in enumerate(self.members, 1) for name in names}
        return np.asarray([of_name.get(category.name, 0) for category in index.categories], np.uint8)

    def told(self, index: CocoIndex) -> str:
        """Each class, and of which categories it is made where its name alone does not say so."""
        ids: dict[str, list[int]] = {}
        for category in index.categories:
            ids.setdefault(category.name, []).append(category.id)
        full = {n: n if len(i) == 1 else f"{n} (ids {', '.join(map(str, i))})" for n, i in ids.items()}
        listed = [
            full.get(name, name) if of == (name,) else f"{name} ({', '.join(full.get(n, n) for n in of)})"
            for name, of in zip(self.drawn, self.members, strict=True)
        ]
        if self.mode == "binary":
            plain = listed == list(self.drawn) and len(listed) <= NAMED
            return f"0 background, 1 {self.names[1]}" + ("" if plain else f": {', '.join(listed)}")
        return ", ".join(f"{i} {text}" for i, text in enumerate(["background", *listed]))


def choose_classes(index: CocoIndex, classes: tuple[str, ...] | None, mode: Mode, merge: Merge = ()) -> ClassTable:
    """The table for the chosen names, in their order; None chooses every category, in the order of the file.

    A name is that of a row of `merge` (its first word; what follows becomes this one class), of a category, or of a
    supercategory, looked for in this order. Categories of one name are one.

    Raises:
        DataError: for an unknown name, with the nearest ones; for a category in two classes; for too many classes.
    """
    known = tuple(dict.fromkeys(category.name for category in index.categories))
    merged = merged_classes(index, known, merge)
    if classes is None:
        owner = {member: name for name, members in merged.items() for member in members}
        classes = tuple(dict.fromkeys(owner.get(name, name) for name in known))
    elif unused := [name for name in merged if name not in classes]:
        raise DataError(f"data.merge makes a class {unused[0]!r} that data.classes does not choose: add it there.")
    if not classes:
        raise DataError(f"{index.path}: no class to learn; it has the categories {', '.join(known) or '(none)'}.")
    members = tuple(
        merged[name] if name in merged else categories_of(index, name, known, tuple(merged)) for name in classes
    )
    check_apart(zip(classes, members, strict=True), "data.classes")
    if mode == "multiclass" and len(classes) > MAX_CLASSES:
        raise DataError(f"{len(classes)} classes: a mask holds at most {MAX_CLASSES}. Choose fewer by data.classes.")
    return ClassTable(classes, members, mode)


def merged_classes(index: CocoIndex, known: tuple[str, ...], merge: Merge) -> dict[str, tuple[str, ...]]:
    """The categories of each merged class."""
    found = {}
    for row in merge:
        if len(row) < 2:
            raise DataError(f"data.merge holds {row!r}: expected the name of a class, then its categories.")
        name, *parts = row
        if name in found:
            raise DataError(f"data.merge makes the class {name!r} twice.")
        lists = [(part, categories_of(index, part, known)) for part in parts]
        check_apart(lists, f"The class {name!r} of data.merge")
        found[name] = tuple(member for _, members in lists for member in members)
        if name in known and name not in found[name]:
            raise DataError(
                f"data.merge makes a class {name!r} without the category of that name: add it, or choose another name."
            )
    check_apart(found.items(), "data.merge")
    return found


def categories_of(index: CocoIndex, name: str, known: tuple[str, ...], others: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The category of this name, or else those of the supercategory of this name; `others` are suggested too."""
    if name in known:
        return (name,)
    if found := tuple(dict.fromkeys(c.name for c in index.categories if c.supercategory == name)):
        return found
    supers = dict.fromkeys(c.supercategory for c in index.categories if c.supercategory)
    folded = {other.casefold(): other for other in (*supers, *others, *known)}
    near = [folded[n] for n in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)]
    beside = f"; supercategories: {', '.join(supers)}" if supers else ""
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"It has: {', '.join(known)}{beside}."
    raise UnknownCategory(f"{index.path} has no category named {name!r}. {hint}")


def check_apart(classes: Iterable[tuple[str, tuple[str, ...]]], where: str) -> None:
    """Raise a DataError for a category that is in two of these."""
    owner: dict[str, str] = {}
    for name, members in classes:
        for member in members:
            if member in owner and owner[member] == name:
                raise DataError(f"{where} names {name!r} twice.")
            if member in owner:
                raise DataError(
                    f"{where}: the category {member!r} is in {owner[member]!r} as well as in {name!r}. Leave one out."
                )
            owner[member] = name


def images_with(index: CocoIndex, table: ClassTable) -> Int64[np.ndarray, " positions"]:
    """Positions of the images that hold at least one drawn category, in the order of the file."""
    drawn = np.append(table.lookup(index) > 0, False)[index.annotation_category]  # -1, unknown, is not drawn
    owner = np.repeat(np.arange(len(index)), np.diff(index.annotation_offsets))
    return np.unique(owner[drawn])
