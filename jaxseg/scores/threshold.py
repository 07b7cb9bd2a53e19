"""The threshold that belongs to a model: chosen on the validation split, by its best weights, and kept beside them."""

import json
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from jaxseg.arrays import VOID
from jaxseg.config import Config
from jaxseg.data.samples import Samples
from jaxseg.description import check_threshold
from jaxseg.errors import InputError
from jaxseg.loop import Shown
from jaxseg.metrics import decide
from jaxseg.predictor import Predictor, network_probabilities
from jaxseg.progress import progress_bar
from jaxseg.run import RunFolder, write_json
from jaxseg.scores.examine import View, examine, photograph
from jaxseg.scores.levels import LEVELS, count_levels, made_finite
from jaxseg.scores.sweep import best_threshold, sweep
from jaxseg.step import TrainState

USUAL = 0.5
"""Of a model that tells nothing apart, and of one of several classes, where the most probable class wins."""
AT = "network"
"""Where the choice is made: what it compares is already drawn for training, and the threshold of the largest IoU at the
pictures' own sizes lies close by."""


class Choice(NamedTuple):
    """The threshold, why it is that one, and images with what was predicted by it."""

    threshold: float
    why: str
    shown: list[Shown]


def trained(config: Config, state: TrainState, description: dict[str, Any]) -> Predictor:
    """The predictor of a state in memory."""
    forward = partial(network_probabilities, model=config.model, scale=description["scale"])
    return Predictor(description, forward, state.weights, config.model.stride)


def choose_threshold(
    predictor: Predictor, val: Samples, batch_size: int, on_faults: Callable[[dict[int, str]], None], *, keep: int
) -> Choice:
    """The threshold of the largest IoU over the split, at the network's size; with the first `keep` images."""
    binary = predictor.mode == "binary"
    kept: list[View] = []
    levels = np.zeros((2, LEVELS + 1), np.int64)

    def work(view: View) -> tuple[View, Any]:
        probabilities, _ = made_finite(view.probabilities)
        view = view._replace(probabilities=probabilities)
        return view, count_levels(probabilities[..., 0], view.truth > 0, view.truth != VOID) if binary else 0

    views = examine(predictor, val, work, at=AT, batch_size=batch_size, on_faults=on_faults)
    with closing(views), progress_bar(len(val), "choosing the threshold") as bar:
        for view, counts in views:
            levels += counts
            kept += [view] if len(kept) < keep else []
            bar.update()
            if not binary and len(kept) == keep:
                break
    threshold, why = judged(levels) if binary else (USUAL, "")
    pictures = (photograph(val, view.position, AT) for view in kept)
    shown = [Shown(p, v.truth, decide(v.probabilities, threshold)) for p, v in zip(pictures, kept, strict=True)]
    return Choice(threshold, why, shown)


def judged(levels: Int64[np.ndarray, "2 levels"]) -> tuple[float, str]:
    """The threshold, and what to tell of it."""
    found = sweep(levels)
    best = best_threshold(found)
    if best is None:
        return USUAL, (
            f"warning: the threshold stays {USUAL}: on the validation split none is better than to call every pixel "
            "foreground. The network tells nothing apart yet: train longer, or look at the masks with "
            "python -m jaxseg.visualize."
        )
    usual = float(found.overlap.iou[np.searchsorted(found.thresholds, USUAL)])
    return best.threshold, (
        f"Threshold {best.threshold:.4g}, the best on the validation split: IoU {best.iou:.3f} there, "
        f"{usual:.3f} at {USUAL}."
    )


def threshold_file(model: Path) -> Path:
    """The model.json that keeps the threshold.

    Raises:
        InputError: for models without a threshold, or without a file to keep it.
    """
    file = RunFolder(model).model
    if not file.is_file():
        raise InputError(f"a threshold is kept in a folder with a model.json; {model} has none.")
    if json.loads(file.read_text()).get("mode") != "binary":
        raise InputError("a model of several classes takes the most probable, and has no threshold.")
    return file


def set_threshold(model: Path | str, threshold: float) -> None:
    """Write the threshold to the model.json of a run, or of a converted folder, leaving the rest as it is.

    `jaxseg.load` takes it from there from now on.

    Raises:
        InputError: for models without a threshold, or without a file to keep it, or if it is no probability.
    """
    file = threshold_file(Path(model))
    check_threshold(threshold)
    write_json(file, {**json.loads(file.read_text()), "threshold": float(threshold)})
