"""How many epochs a run has."""

import dataclasses
import json
import math
import random
from pathlib import Path

import pytest
from test_train import small

import jaxseg
from jaxseg.data.samples import open_split
from jaxseg.errors import InputError
from jaxseg.plan import enough_epochs, fitted, make_plan
from jaxseg.run import RunFolder
from jaxseg.train import fit


def test_enough_epochs_are_the_fewest_that_reach_the_steps() -> None:
    draw = random.Random(0)
    for _ in range(300):
        epochs, steps, least = draw.randint(1, 20), draw.randint(1, 50), draw.randint(0, 400)
        found = enough_epochs(jaxseg.Config(epochs=epochs, least_steps=least), steps)
        assert found >= epochs
        assert found * steps >= least
        assert found == epochs or (found - 1) * steps < least
        again = jaxseg.Config(epochs=found, least_steps=least)
        assert enough_epochs(again, steps) == found, "what config.json says trains as long"


def test_a_negative_number_of_steps_is_refused() -> None:
    with pytest.raises(InputError, match="least_steps is -1: take at least 0"):
        enough_epochs(jaxseg.Config(least_steps=-1), 3)


def test_the_schedule_follows_the_epochs_that_are_trained(sample: Path, capsys: pytest.CaptureFixture) -> None:
    config = small(sample, epochs=2, least_steps=10, schedule=jaxseg.OneCycle())
    settled = fitted(config, open_split(config.data, "train"))
    assert settled.epochs == math.ceil(10 / 3)
    assert "4 epochs of 3 steps, not 2: least_steps is 10" in capsys.readouterr().out
    assert fitted(settled, open_split(config.data, "train")) == settled
    assert "epochs of" not in capsys.readouterr().out


def test_a_run_of_few_epochs_and_many_steps_is_the_longer_run(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = small(sample, epochs=1, least_steps=4)
    short, long = fit(config, tmp_path / "short"), fit(small(sample, epochs=2), tmp_path / "long")
    for name in ("metrics.jsonl", "unet_model_final.pth"):
        assert (short.path / name).read_bytes() == (long.path / name).read_bytes()
    assert json.loads(short.config.read_text())["config"]["epochs"] == 2
    capsys.readouterr()
    fit(config, short.path)
    assert "This run is finished: 2 epochs" in capsys.readouterr().out


def test_going_on_with_other_steps_is_going_on_with_other_epochs(sample: Path, tmp_path: Path) -> None:
    config = small(sample, epochs=1, least_steps=5, schedule=jaxseg.Cosine())
    folder = RunFolder(tmp_path)
    assert make_plan(config, folder, None).config.epochs == 2
    assert make_plan(dataclasses.replace(config, least_steps=6), folder, None).config.epochs == 2
    with pytest.raises(InputError, match="epochs: now 3, there 2"):
        make_plan(dataclasses.replace(config, least_steps=7), folder, None)
