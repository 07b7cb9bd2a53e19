"""On real data sets the doctor says what other code finds."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import at_hand
from PIL import Image
from pycocotools import mask as coco_mask

from jaxseg.check.examine import examine
from jaxseg.check.report import Report
from jaxseg.data.samples import open_split
from jaxseg.data.settings import Data

SIZE = {"height": 64, "width": 64}


@pytest.fixture(scope="module")
def coco(coco_dev: Path) -> tuple[Path, Report]:
    return coco_dev, examine(coco_dev, None, Data(**SIZE), quick=False, threads=2)


@pytest.fixture(scope="module")
def facade() -> tuple[Path, Report]:
    root = at_hand("facade")
    return root, examine(root, None, Data(**SIZE), quick=True, threads=2)


def contents(root: Path) -> dict[str, dict]:
    return {
        split: json.loads(next((root / "annotations").glob(f"instances_{split}*.json")).read_text())
        for split in ("train", "val")
    }


def pixels(annotation: dict, image: dict) -> int:
    segmentation, size = annotation["segmentation"], (image["height"], image["width"])
    parts = coco_mask.frPyObjects(segmentation, *size)
    whole = coco_mask.merge(parts) if isinstance(parts, list) else parts
    return int(coco_mask.decode(whole).sum()) if max(size) < 1000 else int(coco_mask.area(whole))  # decoding takes long


def facts(root: Path, size: int) -> Counter[tuple[str, str]]:
    """What the JSON and the images say, by plain code."""
    found: Counter[tuple[str, str]] = Counter()
    used = {}
    for split, content in contents(root).items():
        images = {image["id"]: image for image in content["images"]}
        annotated = {annotation["image_id"] for annotation in content["annotations"]}
        found[split, "image-without-annotation"] = len(images.keys() - annotated)
        names = Counter(category["name"] for category in content["categories"])
        found[split, "categories-of-one-name"] = sum(count > 1 for count in names.values())
        named = {category["id"]: category["name"] for category in content["categories"]}
        used[split] = {named[annotation["category_id"]] for annotation in content["annotations"]}
        for annotation in content["annotations"]:
            covered = pixels(annotation, images[annotation["image_id"]])
            off = abs(annotation["area"] - covered)
            rings = annotation["segmentation"]
            if isinstance(rings, list):
                rolled = [(np.reshape(ring, (-1, 2)), np.roll(np.reshape(ring, (-1, 2)), 1, 0)) for ring in rings]
                exact = sum(abs((a[:, 0] * b[:, 1] - b[:, 0] * a[:, 1]).sum()) / 2 for a, b in rolled)
                off = min(off, abs(annotation["area"] - exact))
            found[split, "area-disagrees"] += off > max(0.1 * covered, 4 * covered**0.5)
        for image in images.values():
            folder = next(p for p in (root / "images").iterdir() if p.name.startswith(split))
            with Image.open(folder / image["file_name"]) as opened:
                assert opened.size == (image["width"], image["height"])
                found[split, "image-mode"] += opened.mode != "RGB"
                assert opened.getexif().get(0x0112, 1) == 1
    for split, other in (("train", "val"), ("val", "train")):
        found[split, "class-missing-in-split"] = len(used[other] - used[split])
    return +found


def told(report: Report) -> Counter[tuple[str, str]]:
    unseen = "unseen-at-size"  # checked below
    return Counter({(f.split, f.kind.code): f.count for f in report.findings if f.kind.code != unseen})


def test_the_findings_on_coco_are_the_facts(coco: tuple[Path, Report]) -> None:
    root, report = coco
    expected = facts(root, 64)
    assert told(report) == expected
    assert expected["train", "image-mode"] == 1
    assert expected["train", "image-without-annotation"] + expected["val", "image-without-annotation"] == 3
    assert sum(count for (_, code), count in expected.items() if code == "area-disagrees") == 9
    assert report.sound


def test_the_findings_on_facades_are_the_facts(facade: tuple[Path, Report]) -> None:
    root, report = facade
    assert told(report) == facts(root, 64)
    assert report.sound


@pytest.mark.parametrize("split", ["train", "val"])
def test_statistics_are_those_of_the_masks_of_a_run(coco: tuple[Path, Report], split: str) -> None:
    root, report = coco
    samples = open_split(Data(root=root, mode="multiclass", **SIZE), split)
    counts = np.zeros(256, np.int64)
    holding = np.zeros(256, np.int64)
    drawn = []
    for position in samples.positions.tolist():
        of = np.bincount(samples.mask(position).ravel(), minlength=256)
        counts += of
        holding += of > 0
        drawn.append(of[1:255].any())
    statistics = report.statistics[split]
    assert statistics.classes == samples.table.names
    assert statistics.empty == len(samples) - np.count_nonzero(drawn)
    np.testing.assert_array_equal(statistics.pixels, counts)
    np.testing.assert_array_equal(statistics.images_of, holding)
    content = contents(root)[split]
    single = [annotation for annotation in content["annotations"] if not annotation["iscrowd"]]
    images = {image["id"]: image for image in content["images"]}
    areas = np.array([pixels(annotation, images[annotation["image_id"]]) for annotation in single])
    found = statistics.small, statistics.medium, statistics.large
    assert found == ((areas < 32**2).sum(), ((areas >= 32**2) & (areas < 96**2)).sum(), (areas >= 96**2).sum())
    assert statistics.sides.sum() == statistics.objects_of.sum() == len(single)
    positive = counts[1:255].sum()
    assert statistics.pos_weight() == pytest.approx(counts[0] / positive)
    assert statistics.foreground == pytest.approx(positive / counts[:255].sum())


def test_what_is_too_small_to_be_seen(coco: tuple[Path, Report]) -> None:
    root, report = coco
    for split, content in contents(root).items():
        images = {image["id"]: image for image in content["images"]}
        unseen = 0
        for annotation in content["annotations"]:
            image = images[annotation["image_id"]]
            if not annotation["iscrowd"]:
                scale = np.tile([64 / image["width"], 64 / image["height"]], 10_000)
                parts = [(np.array(ring) * scale[: len(ring)]).tolist() for ring in annotation["segmentation"]]
                unseen += not coco_mask.area(coco_mask.frPyObjects(parts, 64, 64)).any()
        found = [f.count for f in report.findings if f.kind.code == "unseen-at-size" and f.split == split]
        assert sum(found) == unseen > 0
