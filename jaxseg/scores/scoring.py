"""Scores a model on a split: the images through the model, their counts added."""

from typing import NamedTuple

from jaxseg.collapse import collapses
from jaxseg.data.samples import Samples
from jaxseg.errors import InputError
from jaxseg.metrics import foreground, share
from jaxseg.predictor import Predictor
from jaxseg.progress import progress_bar
from jaxseg.scores.evaluation import Evaluation
from jaxseg.scores.examine import At, View, examine
from jaxseg.scores.image_score import ImageScore
from jaxseg.scores.instances import Instance, mask_ap, predicted_instances, true_instances
from jaxseg.scores.judge import Tally, judge
from jaxseg.scores.objects import drawn_objects
from jaxseg.scores.scoreboard import regions


class Scored(NamedTuple):
    """One image's part in an evaluation."""

    score: ImageScore
    tally: Tally
    true: list[Instance]
    predicted: list[Instance]


def score(
    predictor: Predictor,
    samples: Samples,
    *,
    model: str,
    split: str,
    at: At,
    threshold: float,
    batch_size: int,
    ap: bool,
) -> Evaluation:
    """Every image that can be read, once; `jaxseg.evaluate.score_model` tells of the settings.

    Raises:
        InputError: if no image can be read.
    """

    def work(view: View) -> Scored:
        objects = drawn_objects(samples, view.position, view.placement)
        tally = judge(view.truth, view.probabilities, threshold, objects)
        true = true_instances(samples, view.position) if ap else []
        predicted = predicted_instances(view.probabilities, threshold) if ap else []
        return Scored(image_score(samples, view.position, tally), tally, true, predicted)

    unreadable: dict[int, str] = {}
    images, truths, predictions, total = [], [], [], None
    results = examine(predictor, samples, work, at=at, batch_size=batch_size, on_faults=unreadable.update)
    with progress_bar(len(samples), "scoring") as bar:
        for scored in results:
            images.append(scored.score)
            total = scored.tally if total is None else total + scored.tally
            if ap:
                truths.append(scored.true)
                predictions.append(scored.predicted)
            bar.update()
    if total is None:
        raise InputError(
            f"none of the {len(samples)} images of {samples.files.images} can be read. "
            f"The first: {next(iter(unreadable.values()), '')}"
        )
    return Evaluation(
        model=model,
        predictor=predictor,
        samples=samples,
        split=split,
        at=at,
        threshold=threshold,
        images=tuple(images),
        unreadable=unreadable,
        total=total,
        ap=mask_ap(truths, predictions, len(predictor.classes)) if ap else {},
        warnings=tuple(warnings_of(total)),
    )


def image_score(samples: Samples, position: int, tally: Tally) -> ImageScore:
    index = samples.index
    return ImageScore(
        position,
        int(index.image_id[position]),
        index.file_name(position),
        int(index.image_height[position]),
        int(index.image_width[position]),
        regions(tally.confusion),
        tally.boundary,
    )


def warnings_of(total: Tally) -> list[str]:
    """What the counts of all images give away."""
    found, pixels = foreground(total.confusion), total.confusion.sum()
    shares = float(share(found.predicted, pixels)), float(share(found.truth, pixels))
    return list(collapses(*shares, unsound=total.unsound).values())
