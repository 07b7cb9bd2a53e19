"""An evaluation as lines for the terminal."""

from collections.abc import Iterator

from jaxseg.metrics import per_class
from jaxseg.scores.evaluation import Evaluation
from jaxseg.scores.objects import SIZES
from jaxseg.scores.titles import shown, table_lines


def lines(evaluation: Evaluation) -> Iterator[str]:
    """The heading, the scores with their intervals, classes, object sizes, thresholds, warnings."""
    yield evaluation.heading
    yield from table_lines(evaluation.rows)
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
            f"{best.iou - float(evaluation.foreground.iou):+.3f}."
        )
    else:
        yield f"The threshold {best.threshold:.4g} is the best on this split."
