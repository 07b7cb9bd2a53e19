"""The whole check of a data set: its files, their entries, the images, what lies across splits."""

import warnings
from dataclasses import replace
from pathlib import Path

from jaxseg.arrays import MAX_CLASSES
from jaxseg.check.classes import examine_file_as_a_whole, examine_masks, examine_uses
from jaxseg.check.content import Content, examine_content
from jaxseg.check.entries import Table, read_table
from jaxseg.check.files import Folder
from jaxseg.check.findings import Fault, Kind
from jaxseg.check.images import Examination
from jaxseg.check.report import Report
from jaxseg.check.samples import draw_some
from jaxseg.check.splits import Split, find_splits
from jaxseg.check.statistics import Statistics
from jaxseg.data.classes import ClassTable, choose_classes
from jaxseg.data.samples import open_split
from jaxseg.data.settings import Data
from jaxseg.errors import DataError
from jaxseg.progress import progress_bar

REFUSED = Kind(
    "refused",
    "error",
    "files",
    "A run on this file would stop at its start.",
    "Stops, with the message that is shown.",
    "As the message says.",
)
STALE = Kind(
    "stale-index",
    "error",
    "files",
    "The index in the cache was made of another content of the annotations file, of the same size and time.",
    "Would use the old content.",
    "Give the file a new time: touch it. The index is then made anew.",
)


def examine(target: Path, images: Path | None, data: Data, quick: bool, threads: int, samples: int = 0) -> Report:
    """Check a data set: a folder, or one COCO file; draw this many `samples` of each split.

    Raises:
        InputError: if what was named is not there; or none of the data set's categories is the class that was chosen.
    """
    report = Report(str(target), data, quick)
    report.splits = find_splits(target, images, report.found)
    tables = {split.name: read(split, report) for split in report.splits}
    table = classes(tables, data)
    contents: dict[str, list[Content]] = {}
    folders: dict[Path, Folder] = {}
    for split in report.splits:
        if split.images is not None and split.images not in folders:
            folders[split.images] = Folder(split.images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what is checked here
        for split in report.splits:
            folder = folders[split.images] if split.images else None
            examination = Examination(tables[split.name], folder, table, data, quick)
            contents[split.name] = watch(split, examination, report, threads)
    whole = {name: of for name, of in tables.items() if of.whole and len(of.index)}
    for name, fault in [*examine_uses(whole), *examine_content(contents)]:
        report.found.add(name, fault)
    for path, folder in folders.items():
        sharing = [split for split in report.splits if split.images == path]
        named = frozenset().union(*(tables[split.name].named for split in sharing))
        if all(tables[split.name].whole for split in sharing):
            report.found.extend(sharing[0].name, folder.unnamed(named))
    for split in report.splits:
        if split.images is None:
            continue
        try_to_start(split, tables[split.name], table, report)
        if samples and table:
            report.samples[split.name] = list(draw_some(tables[split.name], split.images, table, data, samples))
    return report


def read(split: Split, report: Report) -> Table:
    try:
        size = split.json.stat().st_size
    except OSError:
        size = 0
    with progress_bar(size, f"{split.name}: reading") as bar:
        folder = split.images or split.json.parent
        table = read_table(split.json, folder, report.found, split.name, bar.update)
    report.entries[split.name] = len(table.index), len(table.index.annotation_id)
    if table.whole:
        report.found.extend(split.name, examine_file_as_a_whole(table))
    return table


def classes(tables: dict[str, Table], data: Data) -> ClassTable | None:
    """The classes of a run: those chosen, or all of the first file that has any; told apart while they fit a mask."""
    for table in tables.values():
        if table.index.categories:
            chosen = choose_classes(table.index, data.classes, "binary", data.merge)
            return replace(chosen, mode="multiclass") if len(chosen.drawn) <= MAX_CLASSES else chosen
    return None


def watch(split: Split, examination: Examination, report: Report, threads: int) -> list[Content]:
    """Check the images of a split; adds to the report, and returns the digests of the images."""
    contents = []
    statistics = Statistics(examination.classes.names if examination.classes else ())
    with progress_bar(len(examination.table.index), f"{split.name}: images") as bar:
        for examined in examination.run(threads):
            bar.update()
            report.found.extend(split.name, examined.faults)
            if examined.content:
                contents.append(examined.content)
            if examined.counts is not None:
                statistics.add(examined.size, examined.counts, examined.objects)
    if examination.classes:
        report.statistics[split.name] = statistics
        report.found.extend(split.name, examine_masks(examination.table, statistics))
    return contents


def try_to_start(split: Split, table: Table, classes: ClassTable | None, report: Report) -> None:
    """What a run does first, so that nothing that stops it is overlooked."""
    if any(finding.split == split.name and finding.kind.severity == "error" for finding in report.findings):
        return
    chosen = replace(report.data, train_json=split.json, train_images=split.images)
    try:
        samples = open_split(chosen, "train", classes)
    except DataError as error:
        report.found.add(split.name, Fault(REFUSED, split.json.name, str(error)))
        return
    if samples.index.digest != table.index.digest:
        report.found.add(split.name, Fault(STALE, split.json.name))
