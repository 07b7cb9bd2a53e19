"""What makes a run worthless is named, once, with advice; what is fine is not."""

import json
import math

import numpy as np
import pytest

from jaxseg.collapse import collapses, shared_images
from jaxseg.metrics import Totals
from jaxseg.story import CollapseWatch

CASES = {
    "fine": ((0.3, 0.2, 0.5), []),
    "nothing to find, nothing found": ((0.0, 0.0, 0.5), ["no truth"]),
    "all background": ((0.0, 0.2, 0.5), ["all background"]),
    "all foreground": ((1.0, 0.2, 0.5), ["all foreground"]),
    "all foreground, and truly so": ((1.0, 1.0, 0.5), []),
    "everything invented": ((1.0, 0.0, 0.5), ["no truth", "all foreground"]),
    "nan": ((0.3, 0.2, math.nan), ["nan"]),
    "infinite": ((0.3, 0.2, math.inf), ["nan"]),
    "no pixel at all": ((math.nan, math.nan, 0.5), []),
}


@pytest.mark.parametrize("name", CASES)
def test_each_collapse_has_its_name_and_advice(name: str) -> None:
    (predicted, true, loss), kinds = CASES[name]
    found = collapses(predicted, true, loss=loss)
    assert list(found) == kinds
    assert all("rain" in text or "Check" in text for text in found.values())


def test_pixels_without_a_probability_are_told() -> None:
    assert "7 pixels have no probability" in collapses(0.1, 0.1, unsound=7)["nan"]


def test_shared_images_are_told_by_their_names() -> None:
    assert shared_images([], "train", "val") == {}
    text = shared_images(["a", "b", "c", "d"], "train", "val")["shared images"]
    assert text.startswith("4 images are in both the train and the val split (a, b, c, ...)")


def totals(true: int, predicted: int, both: int, loss: float = 0.5, pixels: int = 100) -> Totals:
    counts = [[pixels - true - predicted + both, predicted - both], [true - both, both]]
    return Totals.empty(2).add(loss, pixels, np.array(counts))


def heard(epochs: list[tuple[Totals, Totals]], capsys: pytest.CaptureFixture, last: bool = False) -> list[str]:
    """What each epoch says."""
    watch, said = CollapseWatch(), []
    for number, (training, validation) in enumerate(epochs, 1):
        watch.look(training, validation, last=last and number == len(epochs))
        watch = CollapseWatch(json.loads(json.dumps(watch.memory)))  # as if it was stopped here
        said.append(capsys.readouterr().out)
    return said


def test_training_warns_once_of_a_collapse_that_lasts(capsys: pytest.CaptureFixture) -> None:
    good, black, full = totals(20, 30, 10), totals(20, 0, 0), totals(20, 100, 20)
    said = heard([(good, black)] * 4, capsys)
    assert [bool(text) for text in said] == [False, True, False, False]
    assert "warning: validation: every pixel is predicted as background" in said[1]
    assert not any(heard([(good, black), (good, good), (good, black), (good, full), (good, black)], capsys))
    assert "as foreground" in heard([(good, good), (good, full)], capsys, last=True)[1]
    assert not any(heard([(black, good)] * 3, capsys))  # the training mask is that of a moving network


def test_training_warns_of_nan_and_of_no_truth_at_once(capsys: pytest.CaptureFixture) -> None:
    good, ill, bare = totals(20, 30, 10), totals(20, 30, 10, math.nan), totals(0, 3, 0)
    assert [text.count("the loss is nan") for text in heard([(good, good), (ill, ill), (ill, ill)], capsys)] == [
        0,
        1,
        0,
    ]
    assert "training: the truth is never foreground" in heard([(bare, good)], capsys)[0]
    assert "validation: the truth is never foreground" in heard([(good, bare)], capsys)[0]
    assert heard([(good, Totals.empty(2))], capsys) == [""]
