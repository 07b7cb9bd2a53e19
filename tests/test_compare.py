"""The command that compares runs: what it prints and leaves, what it bears, what it refuses."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from test_evaluate_command import page_of
from written_runs import write_run

import jaxseg
from jaxseg import evaluate
from jaxseg.compare import compare_runs, main
from jaxseg.errors import InputError
from jaxseg.run import RunFolder


def test_a_trained_and_evaluated_run_is_read(tiny: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(tiny.path, tmp_path / "tiny")
    run = RunFolder(tmp_path / "tiny")
    evaluate.main([str(run.path)])
    comparison = compare_runs([run.path])
    (entry,) = comparison.runs
    assert (entry.finished, entry.doubts, comparison.warnings) == (True, (), ())
    scores = json.loads((run.evaluation / "val" / "scores.json").read_text())
    assert (scores["checkpoint"], scores["epochs"]) == ("best", 2)
    assert entry.scored["val"].scores["iou"]._asdict() == scores["scores"]["iou"]
    assert entry.best is not None
    assert str(entry.best["epoch"]) == comparison.training.rows[0][2]
    assert entry.classes == ("background", "laptop + tv + cell phone")
    assert entry.seconds
    assert entry.seconds > 0


def test_the_command_leaves_a_page_a_plot_and_json(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    evil = "<script>&"
    for seed, name in enumerate(("a-0", "a-1", evil)):
        config = jaxseg.Config(epochs=3, seed=seed, patience=7 if name == evil else None)
        write_run(tmp_path / "runs" / name, config)
    (tmp_path / "runs" / "notes.txt").write_text("not a run")
    (tmp_path / "runs" / "half").mkdir()
    words = [*map(str, sorted((tmp_path / "runs").iterdir())), "--out", str(tmp_path / "out")]
    main([*words, "--json", str(tmp_path / "numbers.json")])
    out = capsys.readouterr().out
    assert "half is no run: it has no config.json" in out
    assert "notes.txt is no run" in out
    assert "patience 7" in out
    read = page_of(tmp_path / "out" / "report.html")
    assert evil in read.text
    with Image.open(tmp_path / "out" / "curves.png") as picture:
        assert picture.width > 1000
    assert len(json.loads((tmp_path / "numbers.json").read_text())["recipes"]) == 2
    assert [run.name for run in compare_runs([tmp_path / "runs"]).runs] == [evil, "a-0", "a-1"]


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for place, name in enumerate(("x/run", "y/run")):
        write_run(tmp_path / name, replace(jaxseg.Config(epochs=3), batch_size=2 + place))
    comparison = compare_runs([tmp_path / "x" / "run", tmp_path / "y" / "run", tmp_path / "x" / "run"])
    assert [run.name for run in comparison.runs] == ["x/run", "y/run"]


def test_nothing_to_compare_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(InputError, match=r"nowhere is no run"):
        compare_runs([tmp_path / "nowhere"])
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    assert "none of these is a run's folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
