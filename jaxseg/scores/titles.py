"""Scores as a reader sees them: titles, digits, rows of a table."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

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
    "average_precision": "average precision, pixels",
    "calibration_error": "calibration error",
    "ap": "mask AP, IoU 0.50:0.95",
    "ap_50": "mask AP at IoU 0.50",
    "ap_75": "mask AP at IoU 0.75",
    "ap_small": "mask AP, small objects",
    "ap_medium": "mask AP, medium objects",
    "ap_large": "mask AP, large objects",
}


class Row(NamedTuple):
    """A score in a table: its name, and the texts to show."""

    name: str
    title: str
    score: str
    interval: str


def shown(score: float) -> str:
    """Three digits; a dash for what was not there to score."""
    return "–" if math.isnan(score) else f"{score:.3f}"


def between(score: Interval) -> str:
    """The 95 % interval."""
    return "" if math.isnan(score.low) else f"{score.low:.3f} to {score.high:.3f}"


def row(name: str, score: Interval | float) -> Row:
    """One score, with its interval if it has one."""
    if isinstance(score, Interval):
        return Row(name, TITLES[name], shown(score.value), between(score))
    return Row(name, TITLES[name], shown(score), "")


def table_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The rows under their headings, as a terminal shows them."""
    yield f"{'':26s}{'score':>9s}   95 % interval"
    for _, title, score, interval in rows:
        yield f"{title:26s}{score:>9s}   {interval}".rstrip()
