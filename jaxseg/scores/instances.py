"""COCO's average precision of masks, with the connected parts of a predicted class as its objects."""

import io
from contextlib import redirect_stdout
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import ndimage

from jaxseg.data.samples import Samples
from jaxseg.metrics import decide
from jaxseg.scores.objects import Runs, encode, whole

MOST = 100
"""Predicted objects of a class and image that count, those of the highest score: COCO's limit."""
NAMES = ("ap", "ap_50", "ap_75", "ap_small", "ap_medium", "ap_large")


class Instance(NamedTuple):
    """An object of one image: its class, its mask in COCO's run lengths, and a score, or whether it is a crowd."""

    label: int
    segmentation: Runs
    score: float
    crowd: bool


def true_instances(samples: Samples, position: int) -> list[Instance]:
    """The annotations of the drawn classes at full size; crowds are kept apart, whatever the rules draw of them."""
    full = int(samples.index.image_height[position]), int(samples.index.image_width[position])
    found = []
    for annotation in samples.index.annotations(position):
        label = int(samples.lookup[annotation.category]) if annotation.category >= 0 else 0
        runs = whole(annotation, full) if label else None
        if runs is not None:
            found.append(Instance(label, runs, 1.0, annotation.crowd))
    return found


def predicted_instances(probabilities: Float32[np.ndarray, "height width outputs"], threshold: float) -> list[Instance]:
    """Each part of the predicted mask whose pixels touch along a side; its score is the mean of its probability."""
    prediction, found = decide(probabilities, threshold), []
    for label in np.unique(prediction[prediction > 0]).tolist():
        parts, count = ndimage.label(prediction == label)  # pyright: ignore[reportGeneralTypeIssues]
        probability = probabilities[..., label if probabilities.shape[-1] > 1 else 0]
        scores = np.atleast_1d(ndimage.mean(probability, parts, np.arange(1, count + 1)))
        for place in np.argsort(-scores, kind="stable")[:MOST]:
            found.append(Instance(label, encode(parts == place + 1), float(scores[place]), False))
    return found


def mask_ap(truths: list[list[Instance]], predictions: list[list[Instance]], classes: int) -> dict[str, float]:
    """COCOeval's average precision over IoU 0.50:0.95, at 0.50, at 0.75, and of small, medium and large objects.

    One list an image. NaN where there is no object to find.
    """
    evaluation = COCOeval(as_coco(truths, classes), as_coco(predictions, classes), "segm")
    with redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: float(value) if value >= 0 else np.nan for name, value in zip(NAMES, evaluation.stats, strict=False)}


def as_coco(images: list[list[Instance]], classes: int) -> COCO:
    """What COCOeval takes: ids from 1, the area as measured."""
    annotations = [
        {
            "image_id": image,
            "category_id": instance.label,
            "segmentation": instance.segmentation,
            "area": int(coco_mask.area(instance.segmentation)),
            "iscrowd": int(instance.crowd),
            "score": instance.score,
        }
        for image, instances in enumerate(images, 1)
        for instance in instances
    ]
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        listed: Any = {
            "images": [{"id": image, "height": 0, "width": 0} for image in range(1, len(images) + 1)],
            "categories": [{"id": label} for label in range(1, classes)],
            "annotations": [{"id": id_, **annotation} for id_, annotation in enumerate(annotations, 1)],
        }
        coco.dataset = listed
        coco.createIndex()
    return coco
