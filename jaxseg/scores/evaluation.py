"""The result of an evaluation: counts of each image and of all, and the scores that follow from them."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from jaxseg.data.samples import Samples
from jaxseg.metrics import Overlap, decide, foreground, per_class
from jaxseg.predictor import Predictor
from jaxseg.scores.calibration import Calibration, calibrate
from jaxseg.scores.examine import At, View, photograph, view
from jaxseg.scores.judge import Tally
from jaxseg.scores.objects import SIZES
from jaxseg.scores.scoreboard import Counts, Interval, intervals
from jaxseg.scores.sweep import Best, Sweep, average_precision, best_threshold, sweep


@dataclass(frozen=True, eq=False)
class ImageScore:
    """The counts of one image.

    Attributes:
        position: in the annotations file.
        image_id: in the annotations file.
        file_name: in the images folder.
        height: of the picture.
        width: of the picture.
        pixels: in both, of the truth, of the prediction; of the foreground, then each class, the background first.
        boundary: the same of the boundaries; of the foreground, then the classes 1, 2, ...
    """

    position: int
    image_id: int
    file_name: str
    height: int
    width: int
    pixels: Int64[np.ndarray, "3 regions"]
    boundary: Int64[np.ndarray, "3 classes"]

    @property
    def overlap(self) -> Overlap:
        """The foreground's."""
        return Overlap(*self.pixels[:, 0])

    @property
    def iou(self) -> float:
        """Of the foreground; NaN where there is none, neither true nor predicted."""
        return float(self.overlap.iou)

    @property
    def dice(self) -> float:
        """Of the foreground; NaN where there is none, neither true nor predicted."""
        return float(self.overlap.dice)

    @property
    def false_positives(self) -> int:
        """Background pixels that were predicted as foreground."""
        return int(self.overlap.predicted - self.overlap.both)

    @property
    def false_negatives(self) -> int:
        """Foreground pixels that were predicted as background."""
        return int(self.overlap.truth - self.overlap.both)

    @property
    def empty(self) -> bool:
        """True if nothing in the image is truly foreground."""
        return not self.overlap.truth


class Look(NamedTuple):
    """An image to look at: the picture, what is true, what was predicted, and how probable each class was."""

    image: UInt8[np.ndarray, "height width channels"]
    truth: UInt8[np.ndarray, "height width"]
    prediction: UInt8[np.ndarray, "height width"]
    probabilities: Float32[np.ndarray, "height width outputs"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model scores on a split.

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

    def look(self, image: ImageScore) -> Look:
        """The picture, its truth and its prediction, computed again."""
        frame = self.samples.image(image.position)
        seen: View = view(self.samples, image.position, self.at, self.predictor.probabilities(frame[None])[0])
        prediction = decide(seen.probabilities, self.threshold)
        return Look(photograph(self.samples, image.position, self.at), seen.truth, prediction, seen.probabilities)

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
