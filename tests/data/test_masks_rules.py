"""Every rule of the masks against a second way: each annotation alone, and for each pixel the best that covers it."""

import itertools
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from coco_files import content, image
from mask_pieces import full_mask, random_annotations, resized
from pycocotools import mask as coco_mask

from jaxseg.arrays import VOID
from jaxseg.data.classes import Merge, choose_classes
from jaxseg.data.coco import CocoIndex, build, read_index
from jaxseg.data.geometry import place
from jaxseg.data.masks import Crowds, MaskRules, Overlap, Rasterize, Unknown, draw_mask

RULES = [MaskRules(*rules) for rules in itertools.product(*map(get_args, (Overlap, Crowds, Unknown, Rasterize)))]


def coverage(segmentation: Any, full: tuple[int, int], target: tuple[int, int], rasterize: str) -> np.ndarray:
    """The share of each new pixel that one annotation covers, by the rule's definition."""
    if isinstance(segmentation, list) and (rasterize == "target" or full == target):
        scaled = [(np.reshape(p, (-1, 2)) / full[::-1] * target[::-1]).ravel().tolist() for p in segmentation]
        return np.max([coco_mask.decode(coco_mask.frPyObjects([p], *target))[..., 0] for p in scaled], axis=0)
    return resized(full_mask(segmentation, *full), target)


def expected(
    annotations: list[dict], class_of: dict[int, int], rules: MaskRules, full: tuple[int, int], target: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The mask, and where no coverage is one half but for rounding."""
    labels, priorities, covers = [0], [0.0], [np.ones(target, bool)]
    decided = np.ones(target, bool)
    for order, entry in enumerate(annotations):
        known = entry["category_id"] in class_of
        label = class_of.get(entry["category_id"], VOID if rules.unknown_category == "void" else 0)
        if known and label and entry["iscrowd"]:
            label = {"foreground": label, "void": VOID, "drop": 0}[rules.crowds]
        if not label:
            continue
        share = coverage(entry["segmentation"], full, target, rules.rasterize)
        covers.append(share >= 0.5 - 1e-6)
        decided &= np.abs(share - 0.5) > 1e-6
        area = full_mask(entry["segmentation"], *full).sum()
        above = {"max_index": label, "smallest_on_top": 1 / (1 + area) + order * 1e-12, "last_on_top": order}
        labels.append(label)
        priorities.append(1.0 if label == VOID else 2 + above[rules.overlap])
    best = np.argmax(np.where(covers, np.reshape(priorities, (-1, 1, 1)), -1), axis=0)
    return np.asarray(labels, np.uint8)[best], decided


def compare(
    index: CocoIndex,
    position: int,
    said: list[dict],
    rules: MaskRules,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    resize: Any,
    classes: tuple[str, ...] | None,
    merge: Merge = (),
) -> np.ndarray:
    table = choose_classes(index, classes, "multiclass", merge)
    of_name = {member: number for number, members in enumerate(table.members, 1) for member in members}
    class_of = {category.id: of_name.get(category.name, 0) for category in index.categories}
    placement = place(*sizes, resize)
    found = draw_mask(index.annotations(position), table.lookup(index), rules, placement)
    inner, decided = expected(said, class_of, rules, placement.full, placement.inner)
    around = np.ones(placement.target, bool)
    around[placement.window] = False
    assert np.array_equal(found[placement.window][decided], inner[decided])
    assert (found[around] == VOID).all()
    assert decided.mean() > 0.5
    return found


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("rules", RULES, ids=lambda r: "-".join(r))
def test_random_annotations(rules: MaskRules, resize: str) -> None:
    """Stars and patches of three classes, crowds, and a category that the file does not list."""
    for seed, sizes in enumerate([((30, 40), (30, 40)), ((61, 83), (20, 16)), ((33, 97), (48, 32))]):
        said = random_annotations(np.random.default_rng(seed), *sizes[0])
        index = build(content([image(1, *sizes[0])], said), Path("x.json"), "")
        classes, merge = [(None, ()), (("bird", "cat"), ()), (None, (("pet", "cat", "bird"),))][seed]
        compare(index, 0, said, rules, sizes, resize, classes, merge)


def test_real_photographs(coco_dev: Path) -> None:
    path = coco_dev / "annotations" / "instances_val2017.json"
    content_, index = json.loads(path.read_text()), read_index(path)
    merge = (("road", "car", "bus", "truck"), ("seat", "chair", "couch"))
    seen: set[int] = set()
    cases = list(itertools.product(RULES, ["stretch", "letterbox"]))
    for position in range(len(index)):
        rules, resize = cases[7 * position % len(cases)]
        entry = content_["images"][position]
        said = [a for a in content_["annotations"] if a["image_id"] == entry["id"]]
        sizes = (entry["height"], entry["width"]), (96, 80)
        seen |= set(np.unique(compare(index, position, said, rules, sizes, resize, None, merge)).tolist())
    assert len(seen) > 20
    assert VOID in seen


def test_windows_in_facades(facade: Path) -> None:
    """Objects that lie wholly within others: each rule shows them as it should."""
    path = facade / "annotations" / "instances_val.json"
    content_, index = json.loads(path.read_text()), read_index(path)
    shares = {}
    for overlap in get_args(Overlap):
        rules = MaskRules(overlap, "foreground", "background", "target")
        found = []
        for position in range(12):
            said = [a for a in content_["annotations"] if a["image_id"] == content_["images"][position]["id"]]
            sizes = (1024, 1024), (128, 96)
            found.append(compare(index, position, said, rules, sizes, "letterbox", ("window", "facade")))
        shares[overlap] = np.mean(np.stack(found) == 1)
    assert shares["max_index"] < 0.2 * shares["smallest_on_top"]  # a facade, listed later, hides its windows
