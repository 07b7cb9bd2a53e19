"""The categories of a data set: their names, and in which splits they occur."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from jaxseg.check.entries import Table
from jaxseg.check.entry_kinds import NO_IMAGES, NO_MASKS
from jaxseg.check.findings import Fault, Kind
from jaxseg.check.statistics import Statistics
from jaxseg.errors import counted

NO_CATEGORIES = Kind(
    "no-categories",
    "error",
    "files",
    "The file lists no category.",
    "Stops at the start of a run: there is no class to learn.",
    "List the categories that the annotations name.",
)
ONE_NAME = Kind(
    "categories-of-one-name",
    "warning",
    "categories",
    "Several categories have one name.",
    "Takes them for one class, since classes go by name.",
    "Rename them if they are to be told apart; or leave it, if one was made by accident.",
)
NEARLY_ONE_NAME = Kind(
    "categories-nearly-of-one-name",
    "warning",
    "categories",
    "The names of categories differ only in case or white space.",
    "Takes them for different classes.",
    "Give them one name, if they are one class.",
)
UNUSED = Kind(
    "unused-category",
    "note",
    "categories",
    "A category has no annotation.",
    "Gives it a place among the classes, and learns nothing for it.",
    "Choose classes by --data.classes, or take it out.",
)
ELSEWHERE = Kind(
    "class-missing-in-split",
    "warning",
    "categories",
    "A class has annotations in another split and none here.",
    "In training: never learns it. In validation or test: can't score it.",
    "Divide the images anew, so that each split has each class.",
)
UNLISTED = Kind(
    "categories-differ",
    "warning",
    "categories",
    "A category is listed in another split and not here.",
    "Goes by the training file's names: what only another file lists is background there.",
    "List the same categories in all files.",
)


def examine_file_as_a_whole(table: Table) -> Iterator[Fault]:
    """Names of the categories of one file, and whether it has any, and any image."""
    index = table.index
    if not len(index):
        yield Fault(NO_IMAGES, index.path.name)
    if not index.categories:
        yield Fault(NO_CATEGORIES, index.path.name)
    names = Counter(category.name for category in index.categories)
    for name, count in names.items():
        if count > 1:
            ids = ", ".join(str(category.id) for category in index.categories if category.name == name)
            yield Fault(ONE_NAME, name, f"ids {ids}")
    spelt: dict[str, list[str]] = {}
    for name in names:
        spelt.setdefault(" ".join(name.casefold().split()), []).append(name)
    for spellings in spelt.values():
        if len(spellings) > 1:
            yield Fault(NEARLY_ONE_NAME, spellings[0], ", ".join(map(repr, spellings)))


def examine_masks(table: Table, statistics: Statistics) -> Iterator[Fault]:
    """Whether anything is drawn for the classes; what has no images or categories is told as such."""
    seen = table.whole and table.index.categories and statistics.images
    if seen and statistics.empty == statistics.images:
        index = table.index
        yield Fault(NO_MASKS, index.path.name, counted(len(index.annotation_id) + len(index.orphans), "annotation"))


def instances(table: Table) -> dict[str, int]:
    """How many annotations each category has, by name."""
    index = table.index
    numbers = index.annotation_category[index.annotation_category >= 0]
    counts: Counter[str] = Counter({category.name: 0 for category in index.categories})
    for category, count in zip(index.categories, np.bincount(numbers, minlength=len(index.categories)), strict=True):
        counts[category.name] += int(count)
    return dict(counts)


def examine_uses(tables: Mapping[str, Table]) -> Iterator[tuple[str, Fault]]:
    """Which classes a split lacks, and which occur nowhere in it; with the split's name."""
    counts = {split: instances(table) for split, table in tables.items() if table.index.categories}
    total = sum((Counter(of) for of in counts.values()), Counter())
    for split, of in counts.items():
        for name in dict.fromkeys(name for other in counts.values() for name in other):
            if name not in of:
                yield split, Fault(UNLISTED, name)
            elif not of[name]:
                elsewhere = f"{total[name]} in the other splits" if total[name] else ""
                yield split, Fault(ELSEWHERE if total[name] else UNUSED, name, elsewhere)
