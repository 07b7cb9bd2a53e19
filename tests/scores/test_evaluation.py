"""An evaluation as it is printed, and as a notebook shows it."""

import dataclasses
from pathlib import Path

import pytest
from painted import model_of, paint, painted_data, reads_binary, reads_classes
from test_page import Reader

from jaxseg.evaluate import score_model
from jaxseg.scores.evaluation import Evaluation
from jaxseg.scores.summary import lines


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint(tmp_path_factory.mktemp("painted") / "coco")


@pytest.fixture(scope="module")
def binary(painted: Path) -> Evaluation:
    """With an image without foreground; its warning holds what a page must not take for its own."""
    data = dataclasses.replace(painted_data(painted), classes=None)
    found = score_model(model_of(reads_binary, "binary"), data, ap=True)
    return dataclasses.replace(found, warnings=("all is <lost> & gone",))


@pytest.fixture(scope="module")
def several(painted: Path) -> Evaluation:
    return score_model(model_of(reads_classes, "multiclass"), painted_data(painted, mode="multiclass"))


def test_its_name_is_one_line(binary: Evaluation, several: Evaluation) -> None:
    iou = binary.scores["iou"].value
    assert (
        repr(binary) == f"Evaluation(6 images of the val split, at their original size; threshold 0.5; IoU {iou:.3f})"
    )
    assert "the most probable class; IoU " in repr(several)


def test_it_is_printed_as_the_command_prints_it(binary: Evaluation, several: Evaluation) -> None:
    for evaluation in (binary, several):
        printed, told = str(evaluation).splitlines(), list(lines(evaluation))
        assert printed[0] == evaluation.heading
        table = 2 + len(evaluation.rows)
        assert printed[:table] == told[:table]
        assert printed[table:] == [line for line in told if line.startswith("warning: ")]
    assert str(binary).endswith("\nwarning: all is <lost> & gone")


def test_a_notebook_shows_the_scores_and_the_warnings(binary: Evaluation, several: Evaluation) -> None:
    for evaluation in (binary, several):
        reader = Reader()
        reader.feed(evaluation._repr_html_())
        assert not reader.open
        assert not reader.sources
        assert evaluation.heading in reader.text
        for row in evaluation.rows:
            assert f"{row.title}{row.score}{row.interval}" in reader.text
        assert all(text in reader.text for text in evaluation.warnings)
        assert ("Look at this first" in reader.text) == bool(evaluation.warnings)


def test_rows_say_what_there_is_to_say(binary: Evaluation, several: Evaluation) -> None:
    """Means over classes need several; average precision of objects has to be asked for."""
    names = [[row.name for row in evaluation.rows] for evaluation in (binary, several)]
    for found, evaluation in zip(names, (binary, several), strict=True):
        assert found[:2] == ["iou", "dice"]
        assert {"average_precision", "calibration_error"} <= set(found)
        assert set(evaluation.ap) == {name for name in found if name.startswith("ap")}
    assert ["class_iou" in found for found in names] == [False, True]
    assert ["ap_50" in found for found in names] == [True, False]
    for row in binary.rows:
        assert bool(row.interval) == (row.name in binary.scores)
    first = binary.rows[0]
    value, low, high = binary.scores["iou"]
    assert first == ("iou", "IoU of the foreground", f"{value:.3f}", f"{low:.3f} to {high:.3f}")


def test_an_image_says_how_it_was_scored(binary: Evaluation) -> None:
    empty = [image for image in binary.images if image.empty]
    assert len(empty) == 1
    assert "no true foreground; 0 pixels falsely foreground, 0 missed" in repr(empty[0])
    worst = binary.ranked[0]
    assert repr(worst) == (
        f"ImageScore({worst.file_name}: IoU {worst.iou:.3f}; {worst.false_positives:,} pixels falsely foreground, "
        f"{worst.false_negatives:,} missed)"
    )
    assert repr(binary.look(worst)) == f"Look({worst.height} x {worst.width}: image, truth, prediction, probabilities)"
