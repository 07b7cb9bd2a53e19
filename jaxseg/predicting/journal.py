"""What is predicted already, one line a file: what a stopped run goes on from, and results.json is made of."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxseg.config import differences
from jaxseg.data.stream import entries
from jaxseg.errors import DataError, InputError
from jaxseg.lock import locked
from jaxseg.predicting.inputs import Item
from jaxseg.run import write_whole

NAME = "predicted.jsonl"


class Line(NamedTuple):
    """Where a file's record is, what its outputs are called, and the file's stamp at that time."""

    place: int
    stem: str
    stamp: tuple[int, int]


class Journal:
    """The lines; each is written once the outputs of its file are."""

    def __init__(self, out: Path, settings: dict[str, Any], *, resume: bool) -> None:
        """Open it, or begin it.

        Raises:
            InputError: if there is one and it shall not go on, or it was begun with other settings, or another run is
                at it; or if there is none, and outputs would be written over files of somebody else's.
        """
        self.path = out / NAME
        self.lines: dict[str, Line] = {}
        self.owners: dict[str, str] = {}
        if not self.path.exists():
            check_free(out, settings["save"])
        elif not resume:
            raise InputError(f"{out} holds predictions already: go on with --resume, or give another --out.")
        out.mkdir(parents=True, exist_ok=True)
        self.file = self.path.open("ab+")
        try:
            if not locked(self.file):
                raise InputError(f"another run writes to {out}: let it end, or give another --out.")
            self.read(settings, out)
        except BaseException:
            self.file.close()
            raise

    def read(self, settings: dict[str, Any], out: Path) -> None:
        """Find what is there; an unfinished last line is cut off, and a damaged one with all that follow it."""
        end = 0
        for place, line in lines_of(self.file):
            try:
                record = json.loads(line)
                if place > 0:
                    self.note(place, record)
            except (ValueError, KeyError, TypeError) as error:
                if place == 0:
                    raise InputError(
                        f"{self.path} is no journal of predictions ({error}): give another --out."
                    ) from error
                break
            if place == 0:
                check_same(record, settings, out)
            end = place + len(line)
        self.file.truncate(end)
        if end == 0:
            self.append(settings)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def append(self, record: dict[str, Any]) -> int:
        place = self.file.seek(0, os.SEEK_END)
        self.file.write(json.dumps(record).encode() + b"\n")
        self.file.flush()
        return place

    def add(self, record: dict[str, Any]) -> None:
        """Of one file, by its `file`."""
        self.note(self.append(record), record)

    def note(self, place: int, record: dict[str, Any]) -> None:
        """A file's line; what had outputs of the same names before has them no more."""
        name, stem = record["file"], record["stem"]
        owner = self.owners.get(stem)
        if owner in self.lines and self.lines[owner].stem == stem:
            del self.lines[owner]
        self.lines[name] = Line(place, stem, tuple(record["stamp"]))
        self.owners[stem] = name

    def left(self, items: Sequence[Item], outputs: Callable[[Item], Sequence[Path]]) -> list[Item]:
        """What is to be predicted: files without a line, changed since, or of whose outputs one is gone.

        Their lines are forgotten.
        """
        found = []
        for item in items:
            line = self.lines.get(item.name)
            same = line is not None and (line.stem, line.stamp) == (item.stem, item.stamp)
            if not same or not all(path.exists() for path in outputs(item)):
                self.lines.pop(item.name, None)
                found.append(item)
        return found

    def record(self, name: str) -> dict[str, Any]:
        """Of one file."""
        self.file.seek(self.lines[name].place)
        return json.loads(self.file.readline())


def lines_of(file: Any) -> Iterator[tuple[int, bytes]]:
    """The whole lines, with their places."""
    file.seek(0)
    place = 0
    for line in file:
        if not line.endswith(b"\n"):
            return
        yield place, line
        place += len(line)


def check_free(out: Path, save: Sequence[str]) -> None:
    names = [*(name for name in save if name != "results"), *(["results.json", "images.json"] * ("results" in save))]
    for path in (out / name for name in names):
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise InputError(f"{path} is there already, and of no prediction that is known: give another --out.")


def check_same(found: dict[str, Any], settings: dict[str, Any], out: Path) -> None:
    other = differences(settings, found)
    if other:
        listed = "\n".join(f"  {name}: now {ours}, then {theirs}" for name, (ours, theirs) in other.items())
        raise InputError(f"--resume: {out} was begun with other settings; give the same, or another --out:\n{listed}")


class Ids(NamedTuple):
    """The ids that results have: of images by name, and of each class."""

    images: dict[str, int]
    categories: dict[int, int]
    unknown: int
    """How many files the JSON does not name."""
    named: bool
    """Whether all classes have the ids of its categories."""


def numbered(items: Sequence[Item], classes: Sequence[str]) -> Ids:
    """Files by their places in the list, from 1; classes by their index in the mask."""
    images = {item.name: number for number, item in enumerate(items, 1)}
    return Ids(images, {index: index for index in range(1, len(classes))}, 0, False)


def ids_of(path: Path, items: Sequence[Item], classes: Sequence[str]) -> Ids:
    """As an instances JSON has them: of a file its whole name, else its last part, where just one on each side has it.

    Classes that are no category of it, such as several taken together, keep the index in the mask, and then all do.
    """
    whole: dict[str, int] = {}
    last: dict[str, int | None] = {}
    categories: dict[str, int] = {}
    for table, entry in entries(path):
        if table != "annotations" and "id" not in entry:
            raise DataError(f"{path}: an entry of its {table} has no id: {json.dumps(entry)[:100]}.")
        if table == "images":
            name = str(entry.get("file_name"))
            whole[name] = entry["id"]
            last[last_part(name)] = None if last_part(name) in last else entry["id"]
        elif table == "categories":
            categories.setdefault(str(entry.get("name")), entry["id"])
    names = [item.name for item in items if not item.is_video]
    counts = Counter(map(last_part, names))
    alone = {name for name in names if counts[last_part(name)] == 1}
    found = {name: whole.get(name, last.get(last_part(name)) if name in alone else None) for name in names}
    images = {name: number for name, number in found.items() if number is not None}
    named = all(name in categories for name in classes[1:])
    numbers = {index: categories[name] if named else index for index, name in enumerate(classes) if index}
    return Ids(images, numbers, len(found) - len(images), named)


def last_part(name: str) -> str:
    return name.rpartition("/")[2]


def write_results(out: Path, journal: Journal, items: Sequence[Item], ids: Ids, classes: Sequence[str]) -> None:
    """`results.json`, that pycocotools' `loadRes` takes, and `images.json`, the COCO file that it belongs to."""
    pictures = [item.name for item in items if not item.is_video]
    there = [name for name in pictures if name in ids.images and name in journal.lines]
    categories = [{"id": ids.categories[index], "name": classes[index]} for index in ids.categories]

    def results() -> Iterator[dict[str, Any]]:
        for name in there:
            for result in journal.record(name).get("results", ()):
                place = {"image_id": ids.images[name], "category_id": ids.categories[result["class"]]}
                yield {**place, "segmentation": result["segmentation"], "score": result["score"]}

    def images() -> Iterator[dict[str, Any]]:
        for name in there:
            record = journal.record(name)
            yield {"id": ids.images[name], "file_name": name, "height": record["height"], "width": record["width"]}

    write_list(out / "results.json", results, "[", "]\n")
    end = f'],\n"annotations": [],\n"categories": {json.dumps(categories)}}}\n'
    write_list(out / "images.json", images, '{"images": [', end)


def write_list(path: Path, elements: Callable[[], Iterator[Any]], start: str, end: str) -> None:
    """A JSON list, one element a line, never all in memory."""

    def write(file: Path) -> None:
        with file.open("w") as text:
            text.write(start)
            for number, element in enumerate(elements()):
                text.write((",\n" if number else "\n") + json.dumps(element))
            text.write(end)

    write_whole(path, write)
