"""An evaluation as lines for the terminal."""

import math
from collections.abc import Iterator

from jaxseg.metrics import per_class
from jaxseg.scores.evaluation import Evaluation
from jaxseg.scores.objects import SIZES
from jaxseg.scores.scoreboard import Interval

TITLES = {
    "iou": "IoU of the foreground",
    "dice": "Dice",
    "precision": "precision",
    "recall": "recall",
    "boundary_iou": "boundary IoU",
    "pixel_accuracy": "pixel accuracy",
    "image_iou": "IoU, mean over images",
    "image_dice": "Dice, mean over images",
    "class_iou": "IoU, mean over classes",
    "class_dice": "Dice, mean over classes",
}
AP_TITLES = {
    "ap": "mask AP, IoU 0.50:0.95",
    "ap_50": "mask AP at IoU 0.50",
    "ap_75": "mask AP at IoU 0.75",
    "ap_small": "mask AP, small objects",
    "ap_medium": "mask AP, medium objects",
    "ap_large": "mask AP, large objects",
}


def shown(score: float) -> str:
    """Three digits; a dash for what was not there to score."""
    return "–" if math.isnan(score) else f"{score:.3f}"


def between(score: Interval) -> str:
    """The 95 % interval."""
    return "" if math.isnan(score.low) else f"{score.low:.3f} to {score.high:.3f}"


def titles(evaluation: Evaluation) -> dict[str, str]:
    """The scores that say something, with their titles: means over classes need several."""
    several = len(evaluation.names) > 2
    return {name: title for name, title in TITLES.items() if several or not name.startswith("class_")}


def heading(evaluation: Evaluation) -> str:
    """What was scored, on what, how."""
    where = "at their original size" if evaluation.at == "original" else "at the network's size"
    rule = f"threshold {evaluation.threshold:.4g}" if len(evaluation.names) == 2 else "the most probable class"
    unread = f", {len(evaluation.unreadable)} more can't be read" if evaluation.unreadable else ""
    return f"{len(evaluation.images)} images of the {evaluation.split} split{unread}, {where}; {rule}"


def lines(evaluation: Evaluation) -> Iterator[str]:
    """The heading, the scores with their intervals, classes, object sizes, thresholds, warnings."""
    scores = evaluation.scores
    yield heading(evaluation)
    yield f"{'':26s}{'score':>9s}   95 % interval"
    for name, title in titles(evaluation).items():
        yield f"{title:26s}{shown(scores[name].value):>9s}   {between(scores[name])}".rstrip()
    yield f"{'average precision, pixels':26s}{shown(evaluation.average_precision):>9s}"
    yield f"{'calibration error':26s}{shown(evaluation.calibration.error):>9s}"
    for name, value in evaluation.ap.items():
        yield f"{AP_TITLES[name]:26s}{shown(value):>9s}"
    if len(evaluation.names) > 2:
        yield from class_lines(evaluation)
    yield from object_lines(evaluation)
    empty, alarms = evaluation.empty_images
    if empty:
        yield f"{empty} images have no true foreground; {alarms} of them got a false positive."
    yield from threshold_lines(evaluation)
    if evaluation.absent:
        yield f"Not in these images: {', '.join(evaluation.absent)}."
    for image_id, text in list(evaluation.unreadable.items())[:10]:
        yield f"unreadable: image {image_id}: {text}"
    for text in evaluation.warnings:
        yield f"warning: {text}"


def class_lines(evaluation: Evaluation) -> Iterator[str]:
    width = min(30, max(map(len, evaluation.names)))
    pixels = per_class(evaluation.total.confusion).truth
    yield f"{'class':{width}s}     IoU    Dice  precision  recall  boundary IoU  share of pixels"
    for label, name in enumerate(evaluation.names):
        iou, dice, precision, recall = (
            shown(evaluation.scores[f"{kind}/{label}"].value) for kind in ("iou", "dice", "precision", "recall")
        )
        edge = shown(evaluation.scores[f"boundary_iou/{label}"].value) if label else ""
        part = pixels[label] / max(1, pixels.sum())
        yield f"{name[:width]:{width}s}{iou:>8s}{dice:>8s}{precision:>11s}{recall:>8s}{edge:>14s}{part:>17.1%}"


def object_lines(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.total.objects[:, 0].any():
        return
    yield "objects             number    found   their pixels found"
    for size, (objects, found, pixels, hit) in zip(SIZES, evaluation.total.objects, strict=True):
        shares = (f"{found / objects:>9.1%}{hit / pixels:>21.1%}") if objects else f"{'–':>9s}{'–':>21s}"
        yield f"{size:16s}{objects:>10d}{shares}"


def threshold_lines(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.predictor.mode != "binary":
        return
    best = evaluation.best
    if best is None:
        yield "No threshold is better than to call every pixel foreground."
    elif best.threshold != evaluation.threshold:
        yield (
            f"The best threshold on this split is {best.threshold:.4g}: IoU {best.iou:.3f}, "
            f"{best.iou - float(evaluation.foreground.iou):+.3f}. --set-threshold keeps it in the model."
        )
    else:
        yield f"The threshold {best.threshold:.4g} is the best on this split."
