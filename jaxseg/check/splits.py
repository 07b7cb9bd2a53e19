"""The splits of a data set: which annotations files there are, and where their images lie."""

import re
from pathlib import Path
from typing import NamedTuple

from jaxseg.check.findings import Fault, Findings, Kind
from jaxseg.data.layout import by_layout
from jaxseg.errors import InputError

SPLITS = ("train", "val", "test")
FOLDERS = {"train": "train", "training": "train", "valid": "val", "validation": "val", "val": "val", "test": "test"}
NAMED = ("coco", "instances", "annotation")
EVERYWHERE = "data set"  # the split of findings that belong to none

NO_ANNOTATIONS = Kind(
    "no-annotations",
    "error",
    "files",
    "The folder holds no annotations file.",
    "Stops at the start of a run.",
    "Put annotations/instances_train*.json there, or name a file: python -m jaxseg.doctor FILE.json --images FOLDER.",
)
NO_FOLDER = Kind(
    "no-images-folder",
    "error",
    "files",
    "The images folder of an annotations file is not there; no image was checked.",
    "Stops at the start of a run.",
    "Put the images into images/<the file's ending>/, or name their folder: --images here, --data.train-images there.",
)
SEVERAL = Kind(
    "several-files",
    "error",
    "files",
    "A split has several annotations files.",
    "Stops at the start of a run, and asks which one.",
    "Name one by --data.train-json and the like, or take the others out of annotations/.",
)
MISSING_SPLIT = Kind(
    "missing-split",
    "warning",
    "files",
    "The data set has no training or no validation split.",
    "Stops at the start of a run, unless a share of the training images is taken for it.",
    "Train with --data.val-fraction 0.2, or add annotations/instances_val*.json.",
)
OTHER_LAYOUT = Kind(
    "other-layout",
    "note",
    "files",
    "The files do not lie as COCO's do.",
    "Has to be told where they are.",
    "Train with --data.train-json, --data.val-json and --data.test-json; images beside a JSON are found.",
)


class Split(NamedTuple):
    """An annotations file and the folder of its images, None where there is none."""

    name: str
    json: Path
    images: Path | None


def find_splits(target: Path, images: Path | None, findings: Findings) -> list[Split]:
    """The splits under a folder, or the one of a file.

    Raises:
        InputError: if what was named is not there.
    """
    if images is not None and not images.is_dir():
        raise InputError(f"--images {images} is not a folder.")
    if not target.exists():
        raise InputError(f"{target} is not there: give a data set's folder, or one COCO file.")
    if not target.is_dir():
        return [Split(split_name(target), target, images or by_layout(target) or target.parent)]
    return in_coco_layout(target, images, findings) or in_other_layouts(target, images, findings)


def in_coco_layout(root: Path, images: Path | None, findings: Findings) -> list[Split]:
    splits = []
    for name in SPLITS:
        found = sorted((root / "annotations").glob(f"instances_{name}*.json"))
        if len(found) > 1:
            findings.add(name, Fault(SEVERAL, name, ", ".join(path.name for path in found)))
        for path in found:
            called = name if len(found) == 1 else path.stem.removeprefix("instances_")
            folder = images or by_layout(path)
            if folder is None:
                findings.add(called, Fault(NO_FOLDER, path.name))
            splits.append(Split(called, path, folder))
        if not found and name != "test":
            findings.add(EVERYWHERE, Fault(MISSING_SPLIT, name))
    if not splits:
        findings.forget(EVERYWHERE, MISSING_SPLIT)
    return splits


def in_other_layouts(root: Path, images: Path | None, findings: Findings) -> list[Split]:
    """Files beside their images, as in Roboflow's `train/_annotations.coco.json`; or whatever files there are."""
    splits = []
    for folder, name in FOLDERS.items():
        splits += [Split(name, path, images or path.parent) for path in coco_files(root / folder)]
    for path in [*coco_files(root / "annotations"), *coco_files(root)] if not splits else []:
        splits.append(Split(split_name(path), path, images or by_layout(path) or path.parent))
    names = [split.name for split in splits]
    splits = [split if names.count(split.name) == 1 else split._replace(name=split.json.stem) for split in splits]
    if not splits:
        findings.add(
            EVERYWHERE, Fault(NO_ANNOTATIONS, str(root), "looked for annotations/*.json, train/*.json, *.json")
        )
    for split in splits:
        findings.add(EVERYWHERE, Fault(OTHER_LAYOUT, str(split.json.relative_to(root))))
    return splits


def coco_files(folder: Path) -> list[Path]:
    """The JSON files of a folder: those that are named as annotations are, or else all."""
    found = sorted(folder.glob("*.json"))
    return [path for path in found if any(word in path.name.casefold() for word in NAMED)] or found


def split_name(path: Path) -> str:
    """The split that a file is for, by its folder's name or a word of its own; its own name if they don't say."""
    words = (path.parent.name.casefold(), *re.findall("[a-z]+", path.stem.casefold()))
    return next((FOLDERS[word] for word in words if word in FOLDERS), path.stem)
