"""`python -m jaxseg.compare runs/*`: several runs side by side: settings that differ, curves, scores, time."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxseg import page
from jaxseg.comparing.comparison import Comparison, compared
from jaxseg.comparing.curves import curves
from jaxseg.comparing.entry import Entry, read_entry
from jaxseg.errors import InputError, counted, told_plainly
from jaxseg.plots import write_figure
from jaxseg.run import RunFolder, write_json


@dataclass(frozen=True)
class CompareArguments:
    """Compare runs.

    Attributes:
        runs: folders of runs, or folders that hold some.
        out: the folder for report.html and curves.png.
        json: write all numbers to this file too.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    out: Path = Path("comparison")
    json: Path | None = None


def main(argv: list[str] | None = None) -> None:
    """The command."""
    with told_plainly():
        a = tyro.cli(CompareArguments, args=argv, prog="python -m jaxseg.compare", description=CompareArguments.__doc__)
        comparison = compare_runs(a.runs)
        print(comparison)
        write_report(a.out, comparison)
        if a.json:
            write_json(a.json, comparison.to_json())
        print(f"Report: {a.out / 'report.html'}; curves: {a.out / 'curves.png'}")


def compare_runs(runs: Sequence[Path | str]) -> Comparison:
    """Read the runs; those that differ in their seed alone are taken together.

    A folder that is no run, but holds some, stands for these. One that can't be read is a warning.

    Raises:
        InputError: if none can be read.
    """
    entries: list[Entry] = []
    unread: list[str] = []
    folders = list(dict.fromkeys(folder for run in runs for folder in found(Path(run))))
    for folder, name in zip(folders, names(folders), strict=True):
        try:
            entries.append(read_entry(RunFolder(folder), name))
        except InputError as error:
            unread.append(str(error))
    if not entries:
        raise InputError("\n  ".join(["none of these is a run's folder that can be read:", *unread]))
    return compared(entries, unread)


def found(path: Path) -> Iterator[Path]:
    """The folder itself, or the runs in it."""
    inside = sorted(config.parent for config in path.glob("*/config.json"))
    yield from inside if inside and not RunFolder(path).config.exists() else [path]


def names(folders: Sequence[Path]) -> list[str]:
    """What tells the folders apart: their paths below the folder that holds all."""
    if len({folder.name for folder in folders}) == len(folders) and all(folder.name for folder in folders):
        return [folder.name for folder in folders]
    full = [folder.absolute() for folder in folders]
    top = os.path.commonpath(full)
    return [os.path.relpath(path, top) for path in full]


def write_report(out: Path | str, comparison: Comparison) -> None:
    """`report.html`, self-contained, and `curves.png`."""
    out, figure = Path(out), curves(comparison.recipes)
    write_figure(out / "curves.png", figure)
    plot = page.plot(figure, "A line: the mean over a recipe's runs; a band: lowest to highest; a ring: a best epoch.")
    notice = [page.notice("Look at this first", comparison.warnings)] if comparison.warnings else []
    number = counted(len(comparison.runs), "run")
    subtitle = f"{number} of {counted(len(comparison.recipes), 'recipe')}; runs that differ in their seed alone are one"
    curve = page.section("Curves", page.pictures([plot], wide=True))
    page.write_page(out / "report.html", "Comparison of runs", subtitle, *notice, *comparison.tables(), curve)


if __name__ == "__main__":
    main()
