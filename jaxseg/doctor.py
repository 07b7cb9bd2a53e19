"""`python -m jaxseg.doctor ROOT_OR_JSON`: what is wrong with a data set, and what is in it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from jaxseg.check.examine import examine
from jaxseg.check.page import write_report
from jaxseg.check.report import Report
from jaxseg.check.terminal import told
from jaxseg.data.classes import Merge
from jaxseg.data.geometry import Resize
from jaxseg.data.settings import Data, check_settings
from jaxseg.errors import InputError, told_plainly
from jaxseg.run import write_json

SAMPLES = 9  # pictures of each split on the page


@dataclass(frozen=True)
class DoctorArguments:
    """Check a COCO data set, its JSON and its images, and tell what is in it.

    The exit status is 0 if a run would go through (there may be warnings), 1 if one would break or be silently spoilt,
    2 if the command is wrong.

    Attributes:
        target: a folder in COCO's layout or Roboflow's, or one COCO file.
        images: the folder of the images, where it is not found by the layout.
        classes: category names that statistics are made of; None: all categories, and every image.
        merge: several categories as one class: its name, then theirs; give it again for another.
        height: of what the network will see, in pixels.
        width: of what the network will see, in pixels.
        resize: `stretch` to that size, or `letterbox`.
        crop: of a training on windows: what the pictures' sides are multiplied by, instead of that size.
        json: a file to write everything to, for programs.
        html: a page to write, with plots and samples, whole in one file.
        quick: read only the headers of the images; neither broken pixels nor images in two splits are found.
        threads: that check images.
    """

    target: Annotated[Path, tyro.conf.Positional]
    images: Path | None = None
    classes: tuple[str, ...] | None = None
    merge: Annotated[Merge, tyro.conf.UseAppendAction] = ()
    height: int = 224
    width: int = 224
    resize: Resize = "stretch"
    crop: float | None = None
    json: Path | None = None
    html: Path | None = None
    quick: bool = False
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments = tyro.cli(DoctorArguments, args=argv, prog="python -m jaxseg.doctor")
    with told_plainly():
        report = check(**vars(arguments))
    raise SystemExit(0 if report.sound else 1)


def check(
    target: Path | str,
    images: Path | str | None = None,
    classes: Sequence[str] | None = None,
    *,
    merge: Sequence[Sequence[str]] = (),
    height: int = 224,
    width: int = 224,
    resize: Resize = "stretch",
    crop: float | None = None,
    json: Path | str | None = None,
    html: Path | str | None = None,
    quick: bool = False,
    threads: int = 4,
) -> Report:
    """Check a data set and print the report; `DoctorArguments` documents the settings.

    Raises:
        InputError: if what was named is not there, or can't be written.
    """
    if threads < 1:
        raise InputError(f"--threads {threads}: give at least 1.")
    chosen, merged = None if classes is None else tuple(classes), tuple(tuple(row) for row in merge)
    data = Data(classes=chosen, merge=merged, height=height, width=width, resize=resize, crop=crop)
    check_settings(data)
    folder = None if images is None else Path(images)
    report = examine(Path(target), folder, data, quick=quick, threads=threads, samples=SAMPLES if html else 0)
    print(told(report))
    try:
        if json is not None:
            write_json(Path(json), report.as_json())
        if html is not None:
            write_report(Path(html), report)
    except OSError as error:
        raise InputError(f"{error.filename2 or error.filename} can't be written ({error.strerror}).") from error
    return report


if __name__ == "__main__":
    main()
