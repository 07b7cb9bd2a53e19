"""An evaluation as one self-contained HTML page."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxseg import page
from jaxseg.metrics import per_class, share
from jaxseg.page import Html
from jaxseg.pictures import ERRORS
from jaxseg.scores import curves
from jaxseg.scores.boundary import DILATION
from jaxseg.scores.calibration import BINS
from jaxseg.scores.evaluation import Evaluation
from jaxseg.scores.image_score import ImageScore
from jaxseg.scores.objects import AREAS, SIZES
from jaxseg.scores.titles import TITLES, between, shown

WORST, MEDIAN, BEST, ALARMS = 6, 4, 4, 4
PANEL = 460  # pixels, the longer side of a picture in the gallery
CONFUSED = 20  # the most classes that a confusion matrix shows
MEANING = {
    "iou": "foreground pixels of all images together: common / either",
    "dice": "the same pixels: 2 common / (true + predicted)",
    "precision": "of the pixels predicted as foreground, those that are",
    "recall": "of the foreground's pixels, those that were predicted",
    "boundary_iou": f"of the pixels within {DILATION:g} diagonals of an outline: common / either",
    "pixel_accuracy": "pixels of the right class, background included",
    "image_iou": "each image with true foreground counts the same",
    "image_dice": "each image with true foreground counts the same",
    "class_iou": "each class that is there counts the same, background left out",
    "class_dice": "each class that is there counts the same, background left out",
    "average_precision": "pixels by their probability of foreground: the area under precision by recall",
    "calibration_error": "how far the stated probability is from how often it came true, on average",
}


def write_report(path: Path | str, evaluation: Evaluation) -> None:
    """The page: warnings, scores with intervals, curves, confusion, object sizes, and a gallery from worst to best."""
    subtitle = f"{evaluation.heading}. Model: {evaluation.model}. Annotations: {evaluation.samples.files.json}"
    page.write_page(path, f"Evaluation of {Path(evaluation.model).name}", subtitle, *blocks(evaluation))


def blocks(evaluation: Evaluation) -> Iterator[Html]:
    """The parts of the page, in order."""
    if evaluation.warnings:
        yield page.notice("Look at this first", evaluation.warnings)
    yield tiles(evaluation)
    yield page.section("Worst images", *gallery(evaluation, evaluation.ranked[:WORST], "no image has foreground"))
    yield page.section("Scores", *score_tables(evaluation))
    yield page.section("Curves", page.pairs(plots(evaluation)))
    if len(evaluation.names) > 2:
        yield page.section("Classes", class_table(evaluation))
    yield page.section("Confusion", *confusion(evaluation))
    if evaluation.total.objects[:, 0].any():
        yield page.section("Objects by size", *object_table(evaluation))
    ranked = evaluation.ranked
    middle = max(0, (len(ranked) - MEDIAN) // 2)
    if len(ranked) > WORST + BEST + MEDIAN:
        yield page.section("Images around the median", *gallery(evaluation, ranked[middle : middle + MEDIAN]))
    if len(ranked) > WORST:
        yield page.section("Best images", *gallery(evaluation, ranked[max(WORST, len(ranked) - BEST) :][::-1]))
    if alarms := [image for image in evaluation.images if image.empty and image.false_positives]:
        alarms.sort(key=lambda image: -image.false_positives)
        yield page.section("False alarms in images without foreground", *gallery(evaluation, alarms[:ALARMS]))
    if evaluation.unreadable:
        yield page.section(
            "Images that can't be read",
            page.table(["image", "why"], [list(item) for item in evaluation.unreadable.items()], text_columns=2),
        )
    yield page.section("How this was measured", *(page.paragraph(text) for text in method(evaluation)))


def tiles(evaluation: Evaluation) -> Html:
    """The numbers that matter most."""
    scores = evaluation.scores
    names = ["iou", "dice", "boundary_iou", "precision", "recall"]
    entries = [(TITLES[name], shown(scores[name].value), between(scores[name])) for name in names]
    if (best := evaluation.best) is not None:
        used = "the one that was used" if best.threshold == evaluation.threshold else f"it gives IoU {best.iou:.3f}"
        entries.append(("best threshold here", f"{best.threshold:.3f}", used))
    elif len(evaluation.names) > 2:
        entries.append(("IoU of classes", shown(scores["class_iou"].value), between(scores["class_iou"])))
    return page.tiles(entries)


def score_tables(evaluation: Evaluation) -> Iterator[Html]:
    rows = [
        [page.noted(title, MEANING.get(name, "connected parts as objects")), score, interval]
        for name, title, score, interval in evaluation.rows
    ]
    yield page.table(["score", "value", "95 % interval"], rows)
    empty, alarms = evaluation.empty_images
    if empty:
        yield page.paragraph(f"{empty} images have no true foreground; {alarms} of them got a false positive.")
    if evaluation.absent:
        yield page.paragraph(f"Not in these images: {', '.join(evaluation.absent)}.")


def plots(evaluation: Evaluation) -> list[Html]:
    binary = len(evaluation.names) == 2
    found, best = evaluation.sweep, evaluation.best
    figures = [
        page.plot(
            curves.precision_recall(found, evaluation.average_precision, evaluation.threshold if binary else None),
            "Precision by recall of the foreground's pixels, over all thresholds",
        ),
        page.plot(
            curves.reliability(evaluation.calibration),
            f"Calibration of the {'foreground' if binary else 'predicted class'}'s probability",
        ),
        page.plot(
            curves.spread(np.array([image.iou for image in evaluation.ranked])),
            "IoU of the images that have true foreground",
        ),
    ]
    if binary:
        scores = curves.thresholds(found, evaluation.threshold, best)
        figures.insert(1, page.plot(scores, "Scores of the foreground against the threshold"))
    return figures


def class_table(evaluation: Evaluation) -> Html:
    scores, pixels = evaluation.scores, per_class(evaluation.total.confusion).truth
    kinds = ("iou", "dice", "precision", "recall", "boundary_iou")
    rows = []
    for label, name in enumerate(evaluation.names):
        found = [scores.get(f"{kind}/{label}") for kind in kinds]
        cells = [shown(score.value) if score else "" for score in found]
        rows.append([name, *cells, between(scores[f"iou/{label}"]), f"{pixels[label] / max(1, pixels.sum()):.1%}"])
    headings = ["class", "IoU", "Dice", "precision", "recall", "boundary IoU", "IoU, 95 % interval", "share of pixels"]
    return page.table(headings, rows)


def confusion(evaluation: Evaluation) -> Iterator[Html]:
    """The shares of each true class; of many classes, those with the most pixels."""
    counts = evaluation.total.confusion
    kept = np.sort(np.argsort(-counts.sum(1), kind="stable")[:CONFUSED])
    names = [evaluation.names[label] for label in kept]
    shares = share(counts, np.broadcast_to(counts.sum(1, keepdims=True), counts.shape))[np.ix_(kept, kept)]
    yield page.heat_table("true class", names, names, shares)
    more = f" The {len(kept)} classes with the most pixels are shown." if len(kept) < len(counts) else ""
    yield page.paragraph(f"Each row: the pixels of a true class, by what was predicted.{more}", faint=True)


def object_table(evaluation: Evaluation) -> Iterator[Html]:
    small, medium = (round(area**0.5) for area in AREAS)
    bounds = (f"below {small} x {small}", f"{small} x {small} to {medium} x {medium}", f"from {medium} x {medium}")
    rows = []
    for size, bound, (objects, found, pixels, hit) in zip(SIZES, bounds, evaluation.total.objects, strict=True):
        counts = shown(float(share(found, objects))), shown(float(share(hit, pixels)))
        rows.append([size, bound, f"{objects:,}", *counts])
    yield page.table(["size", "pixels", "objects", "found", "recall of their pixels"], rows, text_columns=2)
    yield page.paragraph(
        "Sizes are COCO's, by the area of the annotation in the original picture; crowds are left out. An object's "
        "pixels are those that the true mask gives to its class. It is found if at least half of them are predicted "
        "as its class. What is predicted where no object is belongs to no size: see precision.",
        faint=True,
    )


def gallery(evaluation: Evaluation, images: Sequence[ImageScore], otherwise: str = "") -> Iterator[Html]:
    """Each picture beside its errors."""
    if not images:
        yield page.paragraph(f"None: {otherwise}.")
        return
    kinds = [kind for kind in ERRORS if kind != "wrong class" or len(evaluation.names) > 2]
    yield page.legend([(kind, ERRORS[kind]) for kind in kinds])
    yield page.pairs([page.photograph(evaluation.look(i).errors_beside(PANEL), caption(i)) for i in images])


def caption(image: ImageScore) -> str:
    pixels = int(image.pixels[1, 1:].sum())
    wrong = f"{image.false_positives / max(1, pixels):.1%} of its pixels falsely foreground"
    missed = f"{image.false_negatives / max(1, pixels):.1%} missed"
    return (
        f"{'No true foreground' if image.empty else f'IoU {shown(image.iou)}'} · {wrong}, {missed} · {image.file_name}"
    )


def method(evaluation: Evaluation) -> Iterator[str]:
    """What a reader must know to trust or repeat the numbers."""
    if evaluation.at == "original":
        yield (
            "The probability is brought back to each picture's full size, linearly, and compared with the mask that is "
            "drawn from the annotations at that size."
        )
    else:
        yield "Masks are compared at the size that the network sees, without the frame of letterboxed pictures."
    yield (
        "Pixels are counted, added over all images, and divided once. Void pixels count nowhere. A dash marks what was "
        "not there to score."
    )
    yield (
        "Intervals: 1,000 times, as many images are drawn with replacement; 95 % of the scores lie between the two "
        "numbers. They tell of the choice of photographs, not of another training."
    )
    yield (
        f"Boundary IoU (Cheng et al., 2021): the inner boundary of a mask is what a 3 x 3 erosion, repeated "
        f"round({DILATION:g} x diagonal) times, takes away; outside the picture counts as background, and so does void."
    )
    yield (
        f"Calibration error (Naeini et al., 2015; Guo et al., 2017): pixels in {BINS} bins of equal width by their "
        "probability; the mean over pixels of the distance between a bin's mean probability and how often it came true."
    )
    if evaluation.ap:
        yield (
            "Mask AP: COCOeval, with each connected part of the predicted mask as an object, scored by its mean "
            "probability. A network that tells no objects apart joins those that touch."
        )
