"""`python -m jaxseg.evaluate RUN`: how good a trained model is, where it fails, and which threshold is best."""

import dataclasses
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxseg.allocator import keep_freed_memory
from jaxseg.checkpoint import Which
from jaxseg.collapse import shared_images
from jaxseg.compile_cache import keep_compiled
from jaxseg.config import from_json
from jaxseg.data.classes import ClassTable, UnknownCategory, choose_classes
from jaxseg.data.coco import DataError
from jaxseg.data.layout import Split
from jaxseg.data.samples import Data, Samples, open_split
from jaxseg.data.twins import twins
from jaxseg.errors import InputError, told_plainly
from jaxseg.loading import load
from jaxseg.predictor import Predictor
from jaxseg.run import RunFolder, write_json
from jaxseg.scores.evaluation import Evaluation
from jaxseg.scores.examine import At
from jaxseg.scores.report import write_report
from jaxseg.scores.scoring import score
from jaxseg.scores.summary import lines
from jaxseg.scores.threshold import set_threshold, threshold_file

MODELS_OWN = ("height", "width", "channels", "resize", "mode", "crop")
"""Settings of the data that are the model's."""
WORTH = 0.001
"""Of IoU, that another threshold must bring to be spoken of."""


@dataclass(frozen=True)
class EvaluateArguments:
    """Score a trained model on a split.

    Attributes:
        model: a run's folder, or any other model that jaxseg loads.
        data: the data set; of a run, its own unless set otherwise. The size, channels and mode are the model's.
        split: train, val or test.
        checkpoint: best, latest, or a step.
        at: the size at which masks are compared: `original`, the picture's, or `network`, what the model sees.
        threshold: another than the model's own.
        batch_size: images computed at a time; it changes no score.
        ap: COCO's average precision too, with the connected parts of the mask as objects.
        set_threshold: keep the threshold that is best on this split in the model.
        out: the folder for report.html and scores.json; None: in the run's, under evaluation/, a new one each time.
        json: write the scores to this file too.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    data: Data = field(default_factory=Data)
    split: Split = "val"
    checkpoint: Which = "best"
    at: At = "original"
    threshold: float | None = None
    batch_size: int = 8
    ap: bool = False
    set_threshold: bool = False
    out: Path | None = None
    json: Path | None = None


def main(argv: list[str] | None = None) -> None:
    """The command."""
    with told_plainly():
        a = parse(argv)
        check_arguments(a)
        keep_compiled()
        keep_freed_memory()
        evaluation = score_model(
            a.model, a.data, a.split, checkpoint=a.checkpoint, at=a.at, threshold=a.threshold,
            batch_size=a.batch_size, ap=a.ap,
        )  # fmt: skip
        print(f"Model: {a.model}; data: {evaluation.samples.files.json}")
        print("\n".join(lines(evaluation)))
        if a.set_threshold:
            keep_threshold(a.model, evaluation)
        else:
            tell_threshold(a, evaluation)
        out = a.out or free_folder(a)
        content = {"checkpoint": str(a.checkpoint), "epochs": epochs_of(a.model), **evaluation.to_json()}
        for path in filter(None, (out / "scores.json", a.json)):
            write_json(path, content)
        write_report(out / "report.html", evaluation)
        print(f"Report: {out / 'report.html'}; scores: {a.json or out / 'scores.json'}")


def parse(argv: Sequence[str] | None) -> EvaluateArguments:
    """The command line; a run's own data settings are the defaults of `--data.*`."""
    settings: dict[str, Any] = {"args": argv, "prog": "python -m jaxseg.evaluate"}
    first = tyro.cli(EvaluateArguments, **settings)
    data = data_of(first.model)
    if data is None:
        return first
    return tyro.cli(EvaluateArguments, default=EvaluateArguments(first.model, data), **settings)


def check_arguments(a: EvaluateArguments) -> None:
    """Raise an InputError, before the work, for what could not be done after it."""
    if a.set_threshold:
        threshold_file(a.model)
        if a.checkpoint != "best":
            raise InputError("--set-threshold: the threshold belongs to the best checkpoint; leave out --checkpoint.")
    if (own := data_of(a.model)) is not None:
        changed = [name for name in MODELS_OWN if getattr(a.data, name) != getattr(own, name)]
        if changed:
            flags = ", ".join(f"--data.{name}" for name in changed)
            raise InputError(f"{flags}: the model sees images as in its training; leave that out.")
    for path in filter(None, (a.json, a.out and a.out / "report.html")):
        there = next(folder for folder in path.absolute().parents if folder.exists())
        if not (there.is_dir() and os.access(there, os.W_OK)):
            raise InputError(f"{path} can't be written: {there} is no folder to write to.")
        if path.is_dir():
            raise InputError(f"{path} is a folder; expected the name of a file to write.")


def data_of(model: Path) -> Data | None:
    """The data settings of a run; None for what is no run."""
    config = RunFolder(model).config
    return from_json(json.loads(config.read_text())["config"]["data"]) if config.is_file() else None


def epochs_of(model: Path) -> int | None:
    """How many epochs the run had when it was concluded last; None for what is no run."""
    path = RunFolder(model).model
    return json.loads(path.read_text()).get("epochs") if path.is_file() else None


def score_model(
    model: Path | str | Predictor,
    data: Data | None = None,
    split: Split = "val",
    *,
    checkpoint: Which = "best",
    at: At = "original",
    threshold: float | None = None,
    batch_size: int = 8,
    ap: bool = False,
) -> Evaluation:
    """The scores of a model on a split; of a run, on its own data unless `data` is given.

    Every image that can be read counts once. The counts are integers; they do not depend on the batch size or the
    devices, but for pixels whose probability lies within rounding of the threshold.

    Raises:
        InputError: if the model or the data can't be used, or disagree.
    """
    if batch_size < 1:
        raise InputError(f"a batch size of {batch_size}: it must be 1 or more.")
    predictor = model if isinstance(model, Predictor) else load(model, checkpoint)
    threshold = predictor.chosen_threshold(threshold)
    own = None if isinstance(model, Predictor) else data_of(Path(model))
    if own is None and (data is None or data.uses_sample):
        raise InputError(f"{model} does not say what data to score it on: give --data.root /path/to/coco.")
    if ap and at != "original":
        raise InputError("--ap compares objects by their size in the original picture: leave out --at network.")
    samples, notes = open_for(predictor, data or own or Data(), split)
    name = "the model" if isinstance(model, Predictor) else str(model)
    evaluation = score(
        predictor, samples, model=name, split=split, at=at, threshold=threshold, batch_size=batch_size, ap=ap
    )
    return dataclasses.replace(evaluation, warnings=(*notes, *evaluation.warnings))


def open_for(predictor: Predictor, data: Data, split: Split) -> tuple[Samples, list[str]]:
    """The split as the model needs it, and what is doubtful about it.

    Raises:
        InputError: if the data can't be used, or its classes are not the model's.
    """
    data = dataclasses.replace(data, **{name: getattr(predictor, name) for name in MODELS_OWN})
    try:
        samples = open_split(data, split)
    except UnknownCategory as error:
        raise InputError(
            f"{error} The model finds {', '.join(predictor.classes[1:])}: name what to compare that with by "
            "--data.classes."
        ) from None
    if data.classes is None:
        samples = dataclasses.replace(samples, table=table_like(predictor, samples))
    ours, theirs = predictor.classes, samples.table.names
    if len(ours) != len(theirs):
        raise InputError(
            f"the model tells apart {', '.join(ours)}; data.classes gives {', '.join(theirs)}: choose as many."
        )
    notes = []
    if ours != theirs:
        notes.append(f"the model's classes are {', '.join(ours)}; they are compared with {', '.join(theirs)}.")
    if split != "train":
        try:
            shared = twins(open_split(data, "train"), samples)
        except InputError:  # these data have no training split
            shared = []
        notes += shared_images(shared, "train", split).values()
    return samples, notes


def table_like(predictor: Predictor, samples: Samples) -> ClassTable:
    """The model's own classes, where the data set has them and no others were asked for."""
    names = predictor.classes[1:] if predictor.mode == "multiclass" else tuple(predictor.classes[1].split(" + "))
    try:
        return choose_classes(samples.index, names, predictor.mode, samples.data.merge)
    except DataError:
        return samples.table


def keep_threshold(model: Path, evaluation: Evaluation) -> None:
    """Write the best threshold of the split to the model, and say so."""
    best, before = evaluation.best, evaluation.predictor.threshold
    if best is None:
        print(f"The threshold stays {before:.4g}: none on this split is better than another.")
        return
    if evaluation.split == "test":
        print("A threshold chosen on the test split: its scores are no longer those of unseen images.")
    set_threshold(model, best.threshold)
    print(f"{threshold_file(model)} keeps the threshold {best.threshold:.4g} (before: {before:.4g}).")


def tell_threshold(a: EvaluateArguments, evaluation: Evaluation) -> None:
    """Where another threshold is worth keeping, say how."""
    best = evaluation.best
    keeps = a.split == "val" and a.checkpoint == "best" and RunFolder(a.model).model.is_file()
    if keeps and best and best.iou - float(evaluation.foreground.iou) > WORTH:
        print("--set-threshold keeps the best threshold in the model.")


def free_folder(a: EvaluateArguments) -> Path:
    """A new folder, named by what was scored."""
    run = RunFolder(a.model)
    parent = run.evaluation if run.model.is_file() else Path("evaluation") / a.model.stem
    others = [str(value) for value, usual in ((a.checkpoint, "best"), (a.at, "original")) if value != usual]
    name = "-".join([a.split, *others])
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(parent / free for free in names if not (parent / free).exists())


if __name__ == "__main__":
    main()
