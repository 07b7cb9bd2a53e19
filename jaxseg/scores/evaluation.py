"""The result of an evaluation: counts of each image and of all, and the scores that follow from them."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxseg import page
from jaxseg.data.samples import Samples
from jaxseg.metrics import Overlap, decide, foreground, per_class
from jaxseg.predictor import Predictor
from jaxseg.scores.calibration import Calibration, calibrate
from jaxseg.scores.examine import At, photograph, view_again
from jaxseg.scores.image_score import ImageScore
from jaxseg.scores.judge import Tally
from jaxseg.scores.look import Look
from jaxseg.scores.objects import SIZES
from jaxseg.scores.scoreboard import Counts, Interval, intervals
from jaxseg.scores.sweep import Best, Sweep, average_precision, best_threshold, sweep
from jaxseg.scores.titles import TITLES, Row, row, shown, table_lines


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model scores on a split. `print` and a notebook show it as a table.

    Attributes:
        model: the name it was given by.
        predictor: the model.
        samples: the split.
        split: its name.
        at: the size at which it was scored.
        threshold: above which a probability was foreground.
        images: the counts of each image that could be read, in the order of the split.
        unreadable: why others could not, by image id.
        total: the counts of all images.
        ap: COCO's average precision of masks by name; empty where it was not asked for.
        warnings: what makes the scores doubtful, with advice.
    """

    model: str
    predictor: Predictor
    samples: Samples
    split: str
    at: At
    threshold: float
    images: tuple[ImageScore, ...]
    unreadable: dict[int, str]
    total: Tally
    ap: dict[str, float]
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, the background first."""
        return self.predictor.classes

    @cached_property
    def scores(self) -> dict[str, Interval]:
        """Every score with its 95 % interval, as `jaxseg.scores.scoreboard.all_scores` names them."""
        pixels, boundary = (np.stack([getattr(i, kind) for i in self.images]) for kind in ("pixels", "boundary"))
        return intervals(Counts(pixels, boundary))

    @cached_property
    def sweep(self) -> Sweep:
        """The foreground's scores at every threshold."""
        return sweep(self.total.levels)

    @property
    def best(self) -> Best | None:
        """The threshold of the largest IoU on this split; None for several classes, which have no threshold."""
        return best_threshold(self.sweep) if self.predictor.mode == "binary" else None

    @property
    def average_precision(self) -> float:
        """The area under precision by recall of the foreground's pixels."""
        return average_precision(self.total.levels)

    @cached_property
    def calibration(self) -> Calibration:
        """Of the foreground's probability, or of several classes, of the predicted class's."""
        return calibrate(self.total.confidence)

    @property
    def foreground(self) -> Overlap:
        """Pixels of all classes but the background."""
        return foreground(self.total.confusion)

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes of which the split has no pixel."""
        truth = per_class(self.total.confusion).truth
        return tuple(name for name, pixels in zip(self.names, truth, strict=True) if not pixels)

    @property
    def empty_images(self) -> tuple[int, int]:
        """The images without true foreground, and those of them with a false positive."""
        empty = [image for image in self.images if image.empty]
        return len(empty), sum(image.false_positives > 0 for image in empty)

    @property
    def ranked(self) -> tuple[ImageScore, ...]:
        """The images with true foreground, the worst IoU first."""
        return tuple(sorted((image for image in self.images if not image.empty), key=lambda image: image.iou))

    @property
    def heading(self) -> str:
        """What was scored, on what, how."""
        where = "at their original size" if self.at == "original" else "at the network's size"
        rule = f"threshold {self.threshold:.4g}" if len(self.names) == 2 else "the most probable class"
        unread = f", {len(self.unreadable)} more can't be read" if self.unreadable else ""
        return f"{len(self.images)} images of the {self.split} split{unread}, {where}; {rule}"

    @property
    def rows(self) -> list[Row]:
        """The scores that say something, as a table shows them: means over classes need several."""
        found = {name: score for name, score in self.scores.items() if name in TITLES}
        if len(self.names) == 2:
            found = {name: score for name, score in found.items() if not name.startswith("class_")}
        further = {"average_precision": self.average_precision, "calibration_error": self.calibration.error}
        return [row(name, score) for name, score in (found | further | self.ap).items()]

    def look(self, image: ImageScore) -> Look:
        """The picture, its truth and its prediction, computed again; a notebook shows its errors."""
        seen = view_again(self.predictor, self.samples, image.position, self.at)
        prediction = decide(seen.probabilities, self.threshold)
        return Look(photograph(self.samples, image.position, self.at), seen.truth, prediction, seen.probabilities)

    def __repr__(self) -> str:
        return f"Evaluation({self.heading}; IoU {shown(self.scores['iou'].value)})"

    def __str__(self) -> str:
        warnings = (f"warning: {text}" for text in self.warnings)
        return "\n".join([self.heading, *table_lines(self.rows), *warnings])

    def _repr_html_(self) -> str:
        notice = [page.notice("Look at this first", self.warnings)] if self.warnings else []
        rows = [row[1:] for row in self.rows]
        table = page.table(["", "score", "95 % interval"], rows)
        return page.inline(*notice, page.paragraph(self.heading), table)

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON holds it; what is not a number is null."""
        empty, false_alarms = self.empty_images
        content = {
            "model": self.model,
            "annotations": str(self.samples.files.json),
            "split": self.split,
            "at": self.at,
            "threshold": self.threshold,
            "best_threshold": self.best._asdict() if self.best else None,
            "classes": list(self.names),
            "absent_classes": list(self.absent),
            "images": len(self.images),
            "unreadable": {str(image_id): text for image_id, text in self.unreadable.items()},
            "empty_images": {"images": empty, "with_false_positives": false_alarms},
            "scores": {name: score._asdict() for name, score in self.scores.items()},
            "average_precision": self.average_precision,
            "calibration_error": self.calibration.error,
            "mask_ap": self.ap,
            "confusion": self.total.confusion.tolist(),
            "objects": {
                size: dict(zip(("objects", "found", "pixels", "pixels_found"), map(int, row), strict=True))
                for size, row in zip(SIZES, self.total.objects, strict=True)
            },
            "calibration": {name: values.tolist() for name, values in self.calibration._asdict().items()},
            "sweep": {
                "thresholds": self.sweep.thresholds.tolist(),
                **{name: np.asarray(counts).tolist() for name, counts in self.sweep.overlap._asdict().items()},
            },
            "warnings": list(self.warnings),
            "per_image": [
                {
                    "id": image.image_id,
                    "file_name": image.file_name,
                    "iou": image.iou,
                    "true_positives": int(image.overlap.both),
                    "false_positives": image.false_positives,
                    "false_negatives": image.false_negatives,
                }
                for image in self.images
            ],
        }
        return without_nan(content)


def without_nan(content: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
