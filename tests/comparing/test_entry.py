"""What a run's folder says of it, whole or broken."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from written_runs import write_run, write_scores

import jaxseg
from jaxseg.comparing.entry import read_entry
from jaxseg.errors import InputError

COUNTS = np.array([[30, 10, 20], [5, 0, 5], [0, 7, 0]])


def test_the_best_epoch_is_the_one_that_training_keeps(tmp_path: Path) -> None:
    entry = read_entry(write_run(tmp_path / "run", losses=(0.9, 0.4, None, 0.4, 0.6)), "run")
    assert entry.best is not None
    assert entry.best["epoch"] == 4, "the later of two equal losses"
    assert entry.best["val_iou"] == pytest.approx(0.6)
    assert (entry.seconds, entry.finished, entry.progress) == (50.0, True, "")
    assert entry.classes == ("background", "cat")
    assert entry.doubts == ()


def test_a_run_without_a_finite_loss_has_no_best_epoch(tmp_path: Path) -> None:
    assert read_entry(write_run(tmp_path / "run", losses=(None, None)), "run").best is None


def test_an_unfinished_run_says_how_far_it_came(tmp_path: Path) -> None:
    entry = read_entry(write_run(tmp_path / "run", jaxseg.Config(epochs=8), finished=False), "run")
    assert entry.progress == "unfinished: 3 of 8 epochs"
    longer = write_run(tmp_path / "longer", jaxseg.Config(epochs=8))
    longer.model.write_text(json.dumps({"classes": ["background", "cat"], "epochs": 2}))
    assert not read_entry(longer, "it was finished after two epochs, and goes on").finished


def test_a_run_before_its_first_epoch(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", losses=())
    for path in (folder.model, folder.timings, folder.metrics):
        path.unlink()
    entry = read_entry(folder, "run")
    assert (entry.best, entry.seconds, entry.classes, entry.finished) == (None, None, None, False)
    assert entry.doubts == ("no epoch of it is recorded",)


def test_of_several_evaluations_the_newest_of_the_best_weights_counts(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    kinds = ({}, {}, {"checkpoint": "latest"}, {"at": "network"}, {"split": "test"})
    for place, changes in enumerate(kinds):
        path = write_scores(folder, COUNTS + place, name=f"val-{9 - place}", **changes)
        os.utime(path, (1000 + place, 1000 + place))
    entry = read_entry(folder, "run")
    assert set(entry.scored) == {"val", "test"}
    assert entry.scored["val"].counts == {0: (31, 11, 21), 1: (6, 1, 6), 2: (1, 8, 1)}
    assert entry.scored["val"].scores["iou"].value == pytest.approx(38 / 86)
    assert set(entry.scored["val"].scores) == {"iou", "dice", "boundary_iou"}


def test_scores_of_several_classes_have_a_mean_over_them(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_scores(folder, COUNTS, classes=["background", "cat", "dog"])
    assert "class_iou" in read_entry(folder, "run").scored["val"].scores


def test_scores_of_a_run_that_went_on_are_doubtful(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_scores(folder, COUNTS, epochs=2)
    assert "scores are of 2 epochs" in read_entry(folder, "run").doubts[0]
    write_scores(folder, COUNTS, name="val-2", epochs=3)


def test_what_is_broken_beside_the_settings_is_a_doubt(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    write_scores(folder, COUNTS).write_text("{")
    write_scores(folder, COUNTS, name="val-2").write_text('{"at": "original", "split": "val"}')
    folder.timings.write_text("no json\n")
    entry = read_entry(folder, "run")
    assert entry.best is not None
    assert entry.scored == {}
    assert len(entry.doubts) == 3


def test_settings_of_another_version_are_a_doubt(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    content = json.loads(folder.config.read_text())
    content["config"]["warp"] = 9
    folder.config.write_text(json.dumps(content))
    entry = read_entry(folder, "run")
    assert entry.config["warp"] == 9
    assert "Config has no setting warp" in entry.doubts[0]


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"config": 3}'])
def test_a_folder_without_settings_is_no_run(tmp_path: Path, text: str) -> None:
    folder = write_run(tmp_path / "run")
    folder.config.write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        read_entry(folder, "run")
