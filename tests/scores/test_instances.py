"""Average precision of masks is what pycocotools gives for the file itself."""

import contextlib
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import ndimage

import jaxseg
from jaxseg.data.samples import open_split
from jaxseg.scores.examine import view
from jaxseg.scores.instances import NAMES, mask_ap, predicted_instances, true_instances
from jaxseg.scores.objects import encode


def blurred_truth(samples: jaxseg.Samples, position: int, classes: int) -> np.ndarray:
    """What a good network might say: the truth, blurred and moved a little."""
    size = (samples.data.height, samples.data.width)
    truth = view(samples, position, "original", np.zeros((*size, 1), np.float32)).truth
    moved = [np.roll(ndimage.gaussian_filter((truth == c).astype(np.float32), 4), 5, 1) for c in range(1, classes)]
    if classes == 2:
        return moved[0][..., None]
    return np.stack([np.clip(1 - sum(moved), 0, 1), *moved], axis=-1)


@pytest.mark.parametrize("names", [("person",), ("person", "car", "chair")])
def test_it_is_what_cocoeval_gives_for_the_file(coco_dev: Path, tmp_path: Path, names: tuple[str, ...]) -> None:
    mode = "binary" if len(names) == 1 else "multiclass"
    samples = open_split(jaxseg.Data(root=coco_dev, classes=names, mode=mode, height=32, width=32), "val")
    coco = quietly(COCO, coco_dev / "annotations" / "instances_val2017.json")
    category = dict(enumerate(coco.getCatIds(catNms=list(names)), 1))
    assert [coco.cats[category[n]]["name"] for n in category] == list(names)
    positions = [int(p) for p in samples.positions[:25]]
    truths, predictions, results = [], [], []
    for position in positions:
        truths.append(true_instances(samples, position))
        found = predicted_instances(blurred_truth(samples, position, len(names) + 1), 0.3)
        predictions.append(found)
        for one in found:
            text = {**one.segmentation, "counts": one.segmentation["counts"].decode()}
            id_ = int(samples.index.image_id[position])
            results.append(
                {"image_id": id_, "category_id": category[one.label], "segmentation": text, "score": one.score}
            )
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results))
    evaluation = COCOeval(coco, quietly(coco.loadRes, str(file)), "segm")
    evaluation.params.imgIds = sorted(int(samples.index.image_id[p]) for p in positions)
    evaluation.params.catIds = list(category.values())
    for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
        quietly(step)
    found = mask_ap(truths, predictions, len(names) + 1)
    assert tuple(found) == NAMES
    assert 0.05 < found["ap"] < 0.9
    for name, theirs in list(zip(NAMES, evaluation.stats, strict=False))[:3]:
        assert found[name] == pytest.approx(theirs, abs=1e-12), name
    for name, theirs in list(zip(NAMES, evaluation.stats, strict=False))[3:]:  # the file's areas are not its masks'
        assert found[name] == pytest.approx(theirs, abs=0.05), name


def quietly(function, *arguments):
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*arguments)


def test_parts_touch_along_a_side_and_score_their_mean_probability() -> None:
    probability = np.zeros((6, 7, 1), np.float32)
    probability[0, 0], probability[1, 1] = 0.9, 0.8  # corners touch
    probability[4, 2:5, 0] = (0.6, 0.7, 0.8)
    found = predicted_instances(probability, 0.5)
    assert [round(one.score, 6) for one in found] == [0.9, 0.8, 0.7]
    assert found[2].segmentation == encode(np.pad(np.ones((1, 3), bool), ((4, 1), (2, 2))))


def test_of_several_classes_each_part_scores_by_its_own() -> None:
    probability = np.zeros((4, 6, 3), np.float32)
    probability[..., 0] = 0.9
    probability[1, 1], probability[2, 4] = (0.1, 0.7, 0.2), (0.3, 0.1, 0.6)
    found = predicted_instances(probability, 0.5)
    assert [(one.label, round(one.score, 6)) for one in found] == [(1, 0.7), (2, 0.6)]


def test_perfect_instances_have_the_precision_one_and_none_has_none() -> None:
    mask = np.zeros((200, 200), bool)
    mask[20:60, 30:90] = True
    found = predicted_instances(mask[..., None].astype(np.float32), 0.5)
    assert len(found) == 1
    perfect = mask_ap([found, []], [found, []], 2)
    assert (perfect["ap"], perfect["ap_medium"]) == pytest.approx((1, 1))
    assert math.isnan(perfect["ap_small"])
    assert mask_ap([found], [[]], 2)["ap"] == 0
    assert math.isnan(mask_ap([[]], [found], 2)["ap"])
