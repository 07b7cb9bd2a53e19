"""Which runs belong together, in what recipes differ, and what can't be compared."""

import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from written_runs import write_run, write_scores

import jaxseg
from jaxseg.comparing.entry import read_entry
from jaxseg.comparing.recipes import Recipe, by_recipe, common_name, differing, distinct, doubts, spread, told

BASE = jaxseg.Config(epochs=3)


def recipes(folder: Path, **configs: jaxseg.Config) -> list[Recipe]:
    return by_recipe([read_entry(write_run(folder / name, config), name) for name, config in configs.items()])


def test_runs_that_differ_in_their_seed_alone_are_one_recipe(tmp_path: Path) -> None:
    losses = {"best-0": (0.9, 0.5), "best-1": (0.3, 0.9), "other": (0.8, 0.7), "best-2": (0.9, 0.7)}
    seeds = {name: replace(BASE, seed=seed, epochs=2) for seed, name in enumerate(losses)}
    seeds["other"] = replace(seeds["other"], batch_size=4)
    entries = [read_entry(write_run(tmp_path / n, seeds[n], losses[n]), n) for n in losses]
    found = by_recipe(entries)
    assert [(recipe.name, len(recipe.runs)) for recipe in found] == [("best", 3), ("other", 1)]
    numbers = found[0].numbers
    best = [0.5, 0.3, 0.7]
    assert numbers["val_loss"] == pytest.approx((statistics.mean(best), statistics.stdev(best), 3))
    assert numbers["val_iou"].mean == pytest.approx(0.5)
    assert numbers["best_epoch"].mean == pytest.approx((2 + 1 + 2) / 3)
    assert numbers["seconds"] == pytest.approx((20, 0, 3))
    assert found[1].numbers["val_loss"].deviation is None
    assert differing(found) == {"batch_size": ["2", "4"]}


def test_settings_of_no_account_and_places_of_the_same_data_make_no_recipe(tmp_path: Path) -> None:
    data = jaxseg.Data(root=Path("/there"), threads=1, workers=2, cache="memory")
    again = replace(BASE, data=data, logs=jaxseg.Logs(every=7), seed=3, least_steps=2)
    found = recipes(tmp_path, a=BASE, b=again, c=replace(BASE, seed=9))
    assert len(found) == 1
    other = write_run(tmp_path / "d", replace(BASE, data=data), digests={"train": "x", "val": "y"})
    separate = by_recipe([*found[0].runs, read_entry(other, "d")])
    assert differing(separate)["data.root"][-1] == "/there"


def test_other_epochs_are_another_recipe(tmp_path: Path) -> None:
    assert differing(recipes(tmp_path, a=BASE, b=replace(BASE, epochs=5))) == {"epochs": ["3", "5"]}


def test_an_unfinished_run_stands_alone(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"r{seed}", replace(BASE, seed=seed), finished=seed > 0) for seed in range(3)]
    found = by_recipe([read_entry(run, run.path.name) for run in runs])
    assert [[run.name for run in recipe.runs] for recipe in found] == [["r0"], ["r1", "r2"]]
    assert "r0 is unfinished: 3 of 3 epochs." in list(doubts(found))


def test_a_part_of_another_class_is_told_whole(tmp_path: Path) -> None:
    found = recipes(
        tmp_path,
        a=BASE,
        b=replace(BASE, loss=jaxseg.Sum((jaxseg.CrossEntropy(pos_weight=3.0), jaxseg.Dice())), clip_norm=1.0),
        c=replace(BASE, optimizer=jaxseg.Adam(2e-3)),
    )
    different = differing(found)
    assert list(different) == ["loss", "optimizer.learning_rate", "clip_norm"]
    assert different["loss"][0] == "CrossEntropy()"
    assert different["loss"][1] == "Sum(terms=CrossEntropy(pos_weight=3), Dice())"
    assert different["optimizer.learning_rate"] == ["0.0001", "0.0001", "0.002"]
    assert different["clip_norm"] == ["-", "1", "-"]
    assert any("losses are different" in text for text in doubts(found))


def test_what_is_not_comparable_is_told(tmp_path: Path) -> None:
    paths = {"a": {}, "b": {"classes": ("background", "dog")}, "c": {"digests": {"train": "a", "val": "z"}}}
    entries = [
        read_entry(write_run(tmp_path / name, replace(BASE, batch_size=place + 1), **changes), name)
        for place, (name, changes) in enumerate(paths.items())
    ]
    texts = list(doubts(by_recipe(entries)))
    assert "b knows other classes than a: dog, not cat." in texts
    assert any(text.startswith("c was validated on another file than a") for text in texts)
    sizes = recipes(tmp_path / "sizes", a=BASE, b=replace(BASE, data=jaxseg.Data(height=32)))
    assert any("sizes differ" in text for text in doubts(sizes))


def test_the_same_seed_twice_is_no_repetition(tmp_path: Path) -> None:
    assert any("same seed (0 0)" in text for text in doubts(recipes(tmp_path, a=BASE, b=BASE)))
    assert not list(doubts(recipes(tmp_path / "two", a=BASE, b=replace(BASE, seed=1))))


def test_how_a_setting_is_told() -> None:
    values = {"-": None, "yes": True, "no": False, "1e-05": 1e-5, "16 32": [16, 32], "none": [], "x": "x", "0": 0}
    assert {told(value) for value in values.values()} == set(values)
    new = {"class": "Ours", "part": {"class": "Dice", "smooth": 2.0, "per_image": False}, "n": [["a", "b"]]}
    assert told(new) == "Ours(part=Dice(smooth=2), n=a b)"


def test_runs_that_were_not_evaluated_are_told(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"r{seed}", replace(BASE, seed=seed)) for seed in range(3)]
    write_scores(runs[1], np.ones((2, 3), int))
    found = by_recipe([read_entry(run, run.path.name) for run in runs])
    assert list(doubts(found)) == ["r: 1 of its 3 runs evaluated on val."]


def test_names_without_their_seeds() -> None:
    assert common_name(["best"]) == "best"
    assert common_name(["best-0", "best-1"]) == "best"
    assert common_name(["best-10", "best-11", "best-1"]) == "best"
    assert common_name(["r50_seed0", "r50_seed3"]) == "r50"
    assert common_name(["x", "y"]) == "x ..."
    assert distinct(["a", "b", "a", "a"]) == ["a", "b", "a (2)", "a (3)"]


def test_the_spread_of_one_number_is_not_known() -> None:
    assert spread([2.0]) == (2.0, None, 1)
    assert spread([1.0, 3.0]) == pytest.approx((2.0, statistics.stdev([1, 3]), 2))
