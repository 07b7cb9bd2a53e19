"""Run folders for tests, written by hand: no network is trained."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import jaxseg
from jaxseg.config import to_json
from jaxseg.run import RunFolder
from jaxseg.scores.scoreboard import Counts, intervals

CLASSES = ("background", "cat")


def write_run(
    path: Path,
    config: jaxseg.Config | None = None,
    losses: Sequence[float | None] = (0.9, 0.5, 0.6),
    *,
    classes: Sequence[str] = CLASSES,
    finished: bool = True,
    digests: dict[str, str] | None = None,
) -> RunFolder:
    """A run whose validation IoU is 1 - loss, Dice half of that, and whose epochs took 10 seconds each."""
    folder, config = RunFolder(path), config or jaxseg.Config(epochs=len(losses))
    path.mkdir(parents=True)
    annotations = digests or {"train": "a", "val": "b"}
    folder.config.write_text(json.dumps({"config": to_json(config), "annotations": annotations}))
    epochs = len(losses)
    folder.model.write_text(json.dumps({"classes": list(classes), **({"epochs": epochs} if finished else {})}))
    records: list[dict[str, Any]] = []
    for epoch, loss in enumerate(losses, 1):
        iou = None if loss is None else 1 - loss
        records.append({"step": 2 * epoch - 1, "batch_loss": 1.0})
        records.append(
            {"step": 2 * epoch, "epoch": epoch, "val_loss": loss, "val_iou": iou, "val_dice": iou and iou / 2}
        )
    folder.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    timed = [json.dumps({"step": epoch, "epoch_seconds": 10.0}) + "\n" for epoch in range(epochs)]
    folder.timings.write_text("".join(timed))
    return folder


def write_scores(folder: RunFolder, counts: np.ndarray, name: str = "val", **changes: Any) -> Path:
    """An evaluation of images with these foreground pixels, [images, (TP, FP, FN)]."""
    both, alarms, missed = counts.T
    pixels = np.stack([np.stack([both, both + missed, both + alarms], 1)] * 3, axis=2)
    found = intervals(Counts(pixels, pixels[..., :2]))
    content = {
        "split": "val",
        "at": "original",
        "checkpoint": "best",
        "annotations": "val.json",
        "classes": list(CLASSES),
        "scores": {name: score._asdict() for name, score in found.items()},
        "per_image": [
            {"id": id_, "true_positives": tp, "false_positives": fp, "false_negatives": fn}
            for id_, (tp, fp, fn) in enumerate(counts.tolist())
        ],
        **changes,
    }
    path = folder.evaluation / name / "scores.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content, default=float).replace("NaN", "null"))
    return path
