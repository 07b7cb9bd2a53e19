"""Tables, curves and JSON of runs side by side."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from written_runs import write_run, write_scores

import jaxseg
from jaxseg.comparing.comparison import Comparison, compared
from jaxseg.comparing.curves import by_epoch, curves
from jaxseg.comparing.entry import read_entry

COUNTS = np.random.default_rng(0).integers(1, 200, (20, 3))


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """Two seeds of one recipe, one run of another, and an unfinished one."""
    base = jaxseg.Config(epochs=3)
    losses = {"best-0": (0.9, 0.5, 0.6), "best-1": (0.8, 0.3, 0.4), "wide": (0.9, None, 0.7), "late": (0.9,)}
    entries = []
    for seed, (name, values) in enumerate(losses.items()):
        config = base if name.startswith("best") else replace(base, batch_size=4 + seed)
        run = write_run(tmp_path / name, replace(config, seed=seed), values, finished=name != "late")
        if name != "late":
            write_scores(run, COUNTS + seed * np.array([0, 20, 0]))
        entries.append(read_entry(run, name))
    return compared(entries, ["x is no run"])


def test_the_tables_hold_means_spreads_and_intervals(comparison: Comparison) -> None:
    assert comparison.training.rows == [
        ["best", "2", "2", "0.4000 ± 0.1414", "0.600 ± 0.141", "0.300 ± 0.071", "30 s"],
        ["wide", "1", "3", "0.7000", "0.300", "0.150", "30 s"],
        ["late (unfinished)", "1", "1", "0.9000", "0.100", "0.050", "10 s"],
    ]
    table = comparison.evaluated("val")
    assert [row[0] for row in table.rows] == ["best", "wide"], "the other was not evaluated"
    assert table.headings == ["recipe", "IoU", "Dice", "boundary IoU", "IoU against best"]
    values = [run.scored["val"].scores["iou"] for run in comparison.runs[:3]]
    mean, deviation = np.mean([v.value for v in values[:2]]), np.std([v.value for v in values[:2]], ddof=1)
    assert table.rows[0][1] == f"{mean:.3f} ± {deviation:.3f}"
    assert table.rows[0][-1] == "–"
    wide = values[2]
    assert table.rows[1][1] == f"{wide.value:.3f} ({wide.low:.3f} to {wide.high:.3f})"
    assert table.rows[1][-1].startswith("-0.")
    assert comparison.settings == {"batch_size": ["2", "6", "7"]}


def test_it_shows_itself(comparison: Comparison) -> None:
    text = str(comparison)
    for part in ("best", "0.4000 ± 0.1414", "wide: batch_size 6", "warning: x is no run", "late is unfinished: 1 of 3"):
        assert part in text
    html = comparison._repr_html_()
    assert "data:image/svg+xml" in html
    assert "0.4000 ± 0.1414" in html


def test_the_json_holds_the_numbers(comparison: Comparison) -> None:
    content = json.loads(json.dumps(comparison.to_json(), allow_nan=False))
    best, wide, _ = content["recipes"]
    assert best["numbers"]["val_loss"] == {"mean": 0.4, "deviation": pytest.approx(0.02**0.5), "runs": 2}
    assert wide["numbers"]["val_loss"]["deviation"] is None
    assert set(wide["iou_against_first"]) == {"val"}
    assert wide["iou_against_first"]["val"]["high"] < 0
    assert wide["settings"] == {"batch_size": "6"}
    assert [run["seed"] for run in best["runs"]] == [0, 1]
    assert [record["val_loss"] for record in best["runs"][1]["history"]] == [0.8, 0.3, 0.4]
    assert content["warnings"][0] == "x is no run"


def test_the_curves_hold_each_recipe(comparison: Comparison) -> None:
    epochs, values = by_epoch(comparison.recipes[0], "val_loss")
    np.testing.assert_array_equal(epochs, [1, 2, 3])
    np.testing.assert_array_equal(values, [[0.9, 0.5, 0.6], [0.8, 0.3, 0.4]])
    figure = curves(comparison.recipes)
    loss, iou = figure.axes
    lines = {str(line.get_label()): line for line in loss.get_lines() if not str(line.get_label()).startswith("_")}
    assert list(lines) == ["best, 2 runs", "wide", "late"]
    np.testing.assert_allclose(lines["best, 2 runs"].get_ydata(), [0.85, 0.4, 0.5])
    np.testing.assert_allclose(lines["wide"].get_xdata(), [1, 3]), "an epoch without a number is passed over"
    rings = [
        tuple(line.get_xydata()[0])
        for line in iou.get_lines()
        if line.get_marker() == "o" and len(line.get_xdata()) == 1
    ]
    assert (2, 0.5) in rings
    assert (2, 0.7) in rings


def test_nothing_to_draw_and_many_to_draw(tmp_path: Path) -> None:
    empty = read_entry(write_run(tmp_path / "none", losses=(None,)), "none")
    assert compared([empty]).training.rows == [["none", "1", "–", "–", "–", "–", "10 s"]]
    assert [text.get_text() for axes in curves(compared([empty]).recipes).axes for text in axes.texts] == [
        "no values"
    ] * 2
    names = [f"{place} $x_{place}$ _" for place in range(23)]
    many = [
        read_entry(write_run(tmp_path / str(place), jaxseg.Config(batch_size=place + 1, epochs=3)), name)
        for place, name in enumerate(names)
    ]
    figure = curves(compared(many).recipes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names
    styles = {
        (line.get_color(), line.get_linestyle())
        for line in figure.axes[0].get_lines()
        if line.get_linestyle() != "None"
    }
    assert len(styles) >= 23
    figure.canvas.draw()
