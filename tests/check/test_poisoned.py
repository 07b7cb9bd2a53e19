"""A folder with every fault: each is found, and nothing else."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from faults import FAULTS
from poison import DataSet, box
from whole_faults import WHOLE

import jaxseg
from jaxseg.check.examine import examine
from jaxseg.check.files import BROKEN
from jaxseg.check.report import Report
from jaxseg.data.samples import open_split
from jaxseg.data.settings import Data
from jaxseg.errors import DataError
from jaxseg.run import read_lines

DATA = Data(height=32, width=48)


def examined(target: Path, **more: bool) -> Report:
    return examine(target, None, DATA, threads=2, **{"quick": False, **more})


def found(report: Report) -> Counter[tuple[str, str]]:
    return Counter({(finding.split, finding.kind.code): finding.count for finding in report.findings})


def test_nothing_is_found_in_a_sound_data_set(tmp_path: Path) -> None:
    report = examined(DataSet(tmp_path).write())
    assert not report.findings
    assert report.sound


Spoilt = Callable[[str], tuple[DataSet, Report]]


@pytest.fixture(scope="session")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Spoilt:
    """The data set with one fault, and what is said of it."""

    @cache
    def made(name: str) -> tuple[DataSet, Report]:
        data = DataSet(tmp_path_factory.mktemp("spoilt") / "data")
        FAULTS[name](data)
        return data, examined(data.write())

    return made


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_alone_is_found_and_nothing_else(name: str, spoilt: Spoilt) -> None:
    data, report = spoilt(name)
    assert found(report) == data.expected
    errors = [finding for finding in report.findings if finding.kind.severity == "error"]
    assert report.sound == (not errors)


def test_every_fault_in_one_folder_is_found_and_nothing_else(tmp_path: Path) -> None:
    data = DataSet(tmp_path)
    for put in FAULTS.values():
        put(data)
    report = examined(data.write())
    failed = [finding.first for finding in report.findings if finding.kind.code == "check-failed"]
    assert (failed, found(report)) == ([], data.expected)


@pytest.mark.parametrize("name", WHOLE)
def test_a_spoilt_file_or_folder_is_told(name: str, tmp_path: Path) -> None:
    spoil, expected = WHOLE[name]
    root = DataSet(tmp_path).write()
    spoil(root)
    assert found(examined(root)) == expected


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_said_of_a_run_is_true(name: str, spoilt: Spoilt) -> None:
    """By default a run goes through if the data set is sound; and with `skip` always."""
    data, report = spoilt(name)
    kinds = {finding.kind.code: finding.kind for finding in report.findings}
    errors = {code for code, kind in kinds.items() if kind.severity == "error"}
    assert through(data.root, "raise") == (errors <= SILENT)
    assert through(data.root, "skip")
    told = any("at the start" in kind.does and "stops" not in kind.does.casefold() for kind in kinds.values())
    if not errors:
        assert told == any(open_split(with_root(data.root), split).index.warnings() for split in ("train", "val"))


SILENT = {"shared-file", "polygon-normalised", "image-in-two-splits"}  # they spoil a run that goes through


def with_root(root: Path, on_error: str = "raise") -> Data:
    return replace(DATA, root=root, on_error=on_error, threads=0)


def through(root: Path, on_error: str) -> bool:
    """True if every sample of both splits can be had."""
    try:
        for split in ("train", "val"):
            samples = open_split(with_root(root, on_error), split)
            for place in range(len(samples)):
                assert samples[place]["image"].shape == (32, 48, 3)
    except DataError:
        return False
    return True


@pytest.mark.parametrize(
    "name",
    [
        "polygons_outside",
        "polygons_without_area",
        "objects_too_small_to_be_seen",
        "run_lengths_of_nothing",
        "polygons_as_shares",
        "polygons_that_are_no_numbers",
        "run_lengths_of_another_total",
        "annotations_without_segmentation",
        "annotations_of_unknown_categories",
    ],
)
def test_what_is_said_not_to_be_drawn_is_not(name: str, tmp_path: Path) -> None:
    """The images that the finding names have the mask that they have without it."""
    data = DataSet(tmp_path)
    before = len(data.content["train"]["annotations"])
    FAULTS[name](data)
    samples = open_split(with_root(data.write()), "train")
    masks = [samples.mask(place) for place in range(len(samples))]
    added = data.content["train"]["annotations"][before:]
    data.content["train"]["annotations"][before:] = [a for a in added if a.get("segmentation") == [box(5, 6, 30, 20)]]
    samples = open_split(with_root(data.write()), "train")
    limit = 2 if name == "polygons_as_shares" else 0  # those draw a pixel in the corner
    for place, mask in enumerate(masks):
        assert (mask != samples.mask(place)).sum() <= limit


def test_a_run_over_every_fault_ends_well(tmp_path: Path) -> None:
    """With `skip`, and its batches are those of every other number of threads."""
    data = DataSet(tmp_path / "data")
    for put in FAULTS.values():
        put(data)
    root = data.write()
    settings = jaxseg.Data(root=root, height=16, width=16, on_error="skip", threads=2)
    logs = jaxseg.Logs(tensorboard=False, pictures=0)
    config = jaxseg.Config(settings, jaxseg.UNet(widths=(4, 4)), epochs=1, batch_size=16, logs=logs)
    folder = jaxseg.train.fit(config, tmp_path / "run")
    record = read_lines(folder.metrics)[-1]
    assert np.isfinite(record["val_loss"])
    faults_told = {fault["image_id"] for fault in read_lines(folder.faults)}
    report = examined(root)
    unread = sum(
        finding.count
        for finding in report.findings
        if finding.kind.does == BROKEN or finding.kind.code == "file-name-escapes"
    )
    assert 0 < len(faults_told) <= unread  # the last images of an epoch that fill no batch are not read
    batches = []
    for threads in (0, 3):
        samples = open_split(replace(settings, threads=threads), "train")
        with jaxseg.train_batches(samples, 16, seed=0) as stream:
            batches.append([next(stream) for _ in range(3)])
    for one, other in zip(*batches, strict=True):
        for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(left, right)


def test_annotations_of_no_image_count_among_those_that_draw_nothing(tmp_path: Path) -> None:
    data = DataSet(tmp_path)
    for number, entry in enumerate(data.content["train"]["annotations"]):
        entry["image_id"] += 1000 if number else 0
        entry["category_id"] = 77
    empty = next(f for f in examined(data.write()).findings if f.kind.code == "no-masks")
    assert empty.first == [("instances_train.json", "13 annotations")]


def test_a_missing_file_is_told_by_its_name_in_the_file(tmp_path: Path) -> None:
    """So that it is seen how it differs from what is there."""
    data = DataSet(tmp_path)
    data.content["train"]["images"][0]["file_name"] = "train2017/0001.png"
    missing = next(f for f in examined(data.write()).findings if f.kind.code == "missing-image")
    assert missing.first == [(1, "train2017/0001.png; there is 0001.png")]


def test_merged_classes_are_counted_as_a_run_would(tmp_path: Path) -> None:
    """A split that lacks a category of a class that was chosen is no error: classes go by the training file."""
    data = DataSet(tmp_path)
    data.content["val"]["categories"].pop()
    data.content["val"]["annotations"] = [a for a in data.content["val"]["annotations"] if a["category_id"] == 1]
    data.write()
    pets = replace(DATA, classes=("pet",), merge=(("pet", "cat", "dog"),))
    report = examine(tmp_path, None, pets, quick=False, threads=1)
    assert found(report) == {("val", "categories-differ"): 1}
    train = report.statistics["train"]
    assert train.classes == ("background", "pet")
    assert train.objects_of[1] == 12
    samples = open_split(replace(pets, root=tmp_path), "train")
    assert train.pixels[1] == sum(int((samples.mask(place) == 1).sum()) for place in range(len(samples)))


def test_ids_in_text_are_told_once(tmp_path: Path) -> None:
    """Where images have no numbers as ids, their annotations' text is no second finding."""
    data = DataSet(tmp_path)
    data.annotate(None, [box(45, 20, 20, 9)])["image_id"] = "7"
    data.annotate(None, [box(45, 20, 20, 9)])["image_id"] = 987_654
    (finding,) = examined(data.write()).findings
    assert finding.kind.code == "unknown-image"
    assert [detail for _, detail in finding.first] == ["image_id is no whole number", "image_id 987654"]
    data.image(annotated=False)["id"] = "7"
    assert found(examined(data.write())) == {("train", "bad-image-id"): 1, ("train", "unknown-image"): 1}
