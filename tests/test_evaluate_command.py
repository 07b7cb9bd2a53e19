"""The evaluation as a command: what it prints, what it leaves, what it refuses."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from painted import paint
from test_page import Reader

import jaxseg
from jaxseg.data.samples import open_split
from jaxseg.errors import InputError
from jaxseg.evaluate import main
from jaxseg.pth import read_pth
from jaxseg.run import RunFolder, write_json
from jaxseg.scores.evaluation import Evaluation
from jaxseg.scores.sweep import STEPS


@pytest.fixture(scope="module")
def trained(tiny: RunFolder) -> RunFolder:
    return tiny


@pytest.fixture
def run(trained: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(trained.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def page_of(path: Path) -> Reader:
    text = path.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert not reader.open
    assert "<script" not in text
    assert all(source.startswith("data:image/") for source in reader.sources)
    assert not re.search(r"(?:src|href)=.?https?:|url\(|@import", text)
    return reader


def test_it_prints_a_table_and_leaves_a_page_and_scores(run: RunFolder, capsys: pytest.CaptureFixture) -> None:
    main([str(run.path), "--ap", "--json", str(run.path / "mine" / "scores.json")])
    out = capsys.readouterr().out
    assert "5 images of the val split, at their original size; threshold " in out
    scores = json.loads((run.evaluation / "val" / "scores.json").read_text())
    assert scores == json.loads((run.path / "mine" / "scores.json").read_text())
    assert f"IoU of the foreground{scores['scores']['iou']['value']:>14.3f}" in out
    assert scores["threshold"] == json.loads(run.model.read_text())["threshold"]
    samples = open_split(jaxseg.evaluate.data_of(run.path), "val")
    sizes = [samples.placement(int(position)).full for position in samples.positions]
    assert np.array(scores["confusion"]).sum() == sum(height * width for height, width in sizes)
    assert len(scores["per_image"]) == scores["images"] == len(samples) == 5
    assert set(scores["mask_ap"]) >= {"ap", "ap_50"}
    read = page_of(run.evaluation / "val" / "report.html")
    for heading in ("Worst images", "Scores", "Curves", "Confusion", "Objects by size", "How this was measured"):
        assert heading in read.text
    assert len(read.sources) == 4 + 5
    assert scores["per_image"][0]["file_name"] in read.text


def test_a_second_evaluation_leaves_the_first(run: RunFolder, tmp_path: Path) -> None:
    main([str(run.path)])
    first = (run.evaluation / "val" / "scores.json").read_bytes()
    main([str(run.path), "--threshold", "0.2"])
    main([str(run.path), "--at", "network", "--split", "train", "--checkpoint", "latest"])
    main([str(run.path), "--out", str(tmp_path / "there")])
    assert sorted(path.name for path in run.evaluation.iterdir()) == ["train-latest-network", "val", "val-2"]
    assert (
        (run.evaluation / "val" / "scores.json").read_bytes()
        == first
        == (tmp_path / "there" / "scores.json").read_bytes()
    )
    second = json.loads((run.evaluation / "val-2" / "scores.json").read_text())
    assert second["threshold"] == 0.2
    assert json.loads((run.evaluation / "train-latest-network" / "scores.json").read_text())["images"] == 13


def test_the_best_threshold_is_kept_in_the_model(run: RunFolder, capsys: pytest.CaptureFixture) -> None:
    before = {**json.loads(run.model.read_text()), "threshold": 0.987, "of my own": [1, 2]}
    write_json(run.model, before)
    main([str(run.path), "--set-threshold"])
    after = json.loads(run.model.read_text())
    best = json.loads((run.evaluation / "val" / "scores.json").read_text())["best_threshold"]
    assert after == {**before, "threshold": best["threshold"]}
    assert "keeps the threshold" in capsys.readouterr().out
    found = jaxseg.evaluate.score_model(run.path)
    assert isinstance(found, Evaluation)
    assert found.threshold == found.best.threshold == jaxseg.load(run.path).threshold
    assert float(found.foreground.iou) == found.best.iou == best["iou"]
    assert found.best.threshold * STEPS % 1 == 0
    tried = [jaxseg.evaluate.score_model(run.path, threshold=t).foreground.iou for t in (0.2, 0.35, 0.5, 0.65)]
    assert found.best.iou >= max(tried)


def test_a_threshold_has_a_place_to_be_kept_or_is_refused(run: RunFolder, capsys: pytest.CaptureFixture) -> None:
    cases = {
        ("--checkpoint", "latest"): "belongs to the best checkpoint",
        (): "has no threshold",
    }
    for more, message in cases.items():
        if not more:
            write_json(run.model, {**json.loads(run.model.read_text()), "mode": "multiclass"})
        with pytest.raises(SystemExit):
            main([str(run.path), "--set-threshold", *more])
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(run.best_weights), "--set-threshold", "--data.root", "x"])
    assert "kept in a folder with a model.json" in capsys.readouterr().err


def test_any_model_is_scored_on_data_that_are_named(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The run's .pth has no data of its own; on the run's data it scores what the run scores."""
    with pytest.raises(SystemExit):
        main([str(run.best_weights)])
    assert "give --data.root" in capsys.readouterr().err
    own = jaxseg.evaluate.score_model(run.path)
    data = jaxseg.evaluate.data_of(run.path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in (run.best_weights, run.model):
        shutil.copy(path, elsewhere)
    assert read_pth(elsewhere / run.best_weights.name).tensors
    found = jaxseg.evaluate.score_model(elsewhere / run.best_weights.name, data)
    np.testing.assert_array_equal(found.total.confusion, own.total.confusion)
    other = jaxseg.evaluate.score_model(jaxseg.load(run.path), data)
    np.testing.assert_array_equal(other.total.confusion, own.total.confusion)


def test_data_settings_of_a_run_are_the_defaults_of_the_flags(run: RunFolder, capsys: pytest.CaptureFixture) -> None:
    main([str(run.path), "--data.classes", "tv", "--split", "train"])
    out = capsys.readouterr().out
    assert re.search(r"\n\d+ images of the train split", out)
    assert (
        "warning: the model's classes are background, laptop + tv + cell phone; they are compared with background, tv"
        in out
    )
    with pytest.raises(SystemExit):
        main([str(run.path), "--split", "test"])
    assert "instances_test*.json" in capsys.readouterr().err


def test_images_of_the_training_split_are_told(run: RunFolder, sample: Path, capsys: pytest.CaptureFixture) -> None:
    train = next((sample / "annotations").glob("instances_train*.json"))
    main([str(run.path), "--data.val-json", str(train)])
    out = capsys.readouterr().out
    assert "warning: 13 images are in both the train and the val split" in out
    assert "Look at this first" in page_of(run.evaluation / "val" / "report.html").text


def test_what_could_not_be_done_in_the_end_is_refused_at_once(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    cases = {
        ("--json", str(tmp_path)): "is a folder; expected the name of a file",
        ("--json", str(tmp_path / "file" / "scores.json")): "can't be written",
        ("--out", str(tmp_path / "file")): "can't be written",
        ("--batch-size", "0"): "a batch size of 0: it must be 1 or more",
        ("--data.height", "64", "--data.resize", "letterbox"): "--data.height, --data.resize: the model sees images as",
    }
    monkeypatch.setattr("jaxseg.evaluate.score", None)
    for flags, message in cases.items():
        with pytest.raises(SystemExit):
            main([str(run.path), *flags])
        assert message in capsys.readouterr().err


def test_classes_that_other_data_lack_are_asked_for(run: RunFolder, tmp_path: Path) -> None:
    data = dataclasses.replace(jaxseg.evaluate.data_of(run.path), root=paint(tmp_path / "coco"))
    with pytest.raises(InputError, match=r"no category named 'laptop'.*laptop \+ tv \+ cell phone.*--data.classes"):
        jaxseg.evaluate.score_model(run.path, data)


def test_how_to_keep_a_better_threshold_is_told_where_it_can_be(run: RunFolder, capsys: pytest.CaptureFixture) -> None:
    hint = "--set-threshold keeps the best threshold in the model."
    best = jaxseg.evaluate.score_model(run.path).best.threshold
    for flags, told in (
        (["--threshold", "0.95"], True),
        (["--threshold", str(best)], False),
        (["--threshold", "0.95", "--split", "train"], False),
        (["--threshold", "0.95", "--checkpoint", "latest"], False),
        (["--threshold", "0.95", "--set-threshold"], False),
    ):
        main([str(run.path), *flags])
        assert (hint in capsys.readouterr().out) == told, flags


def test_a_threshold_is_set_from_python(run: RunFolder) -> None:
    before = json.loads(run.model.read_text())
    jaxseg.evaluate.set_threshold(str(run.path), np.float64(0.25))
    assert json.loads(run.model.read_text()) == {**before, "threshold": 0.25}
    model = jaxseg.load(run.path)
    assert model.threshold == 0.25
    assert repr(model) == "Predictor(binary (laptop + tv + cell phone), threshold 0.25)"
    for threshold in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(InputError, match="must lie between 0 and 1"):
            jaxseg.evaluate.set_threshold(run.path, threshold)
    assert jaxseg.load(run.path).threshold == 0.25
