"""A dry run tells what a run would take, and leaves nothing."""

import dataclasses
import math
from pathlib import Path

import pytest

import jaxseg
import jaxseg.dry_run
from jaxseg.dry_run import DryRun, Timed, dry_run, duration
from jaxseg.footprint import Room
from jaxseg.train import main

CONFIG = jaxseg.Config(
    data=jaxseg.Data(classes=("laptop", "tv", "cell phone"), height=32, width=48),
    model=jaxseg.UNet(widths=(4, 8), norm="batch"),
    epochs=1,
    batch_size=4,
    least_steps=8,  # which takes three epochs
)


@pytest.fixture(scope="module")
def told(sample: Path) -> DryRun:
    return dry_run(dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, root=sample)))


def test_the_numbers_agree_with_one_another(told: DryRun) -> None:
    convolutions = 9 * (3 * 4 + 4 * 4 + 4 * 8 + 8 * 8 + 8 * 4 + 4 * 4) + 4 * 8 * 4 + 4
    biases, norms = 4 + 4 + 8 + 8 + 4 + 4 + 4 + 1, 2 * (4 + 4 + 8 + 8 + 4 + 4)
    assert told.parameters == convolutions + biases + norms
    assert told.training.state > 3 * 4 * told.parameters, "weights and Adam's two moments"
    assert told.epoch == (3, 2)
    assert told.devices == 4
    assert told.fits
    assert told.timed is not None
    training, evaluation = told.timed
    assert len(training.steps) >= 3
    assert len(evaluation.steps) >= 1
    assert told.epoch_seconds == pytest.approx(3 * training.each + 2 * evaluation.each)
    assert told.training.flops > 3 * told.evaluation.flops / 2
    assert told.largest == 12, "of 13 images, what four devices divide"
    text = repr(told)
    for number in ("1,781", "4 on 4 of 8 devices", "3 epochs", "images/s", "median"):
        assert number in text


def test_the_command_leaves_nothing(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "tiny.py").write_text(
        "import jaxseg\n"
        'data = jaxseg.Data(classes=("laptop", "tv", "cell phone"), height=32, width=48)\n'
        'config = jaxseg.Config(data, jaxseg.UNet(widths=(4, 8), norm="batch"), epochs=3, batch_size=4)\n'
    )
    words = ["--config", str(tmp_path / "tiny.py"), "--data.root", str(sample), "--workdir", str(tmp_path / "run")]
    main([*words, "--dry-run"])
    assert "largest batch that fits" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxseg.dry_run, "room_of", lambda _: Room(500_000, "the test has", "gpu"))
        patch.setattr(jaxseg.dry_run, "timings", None)  # it must not run
        with pytest.raises(SystemExit) as stopped:
            main([*words, "--dry-run"])
    assert stopped.value.code == 1
    printed = capsys.readouterr().out
    assert "It does not fit." in printed
    assert "--data.height" in printed
    assert not (tmp_path / "run").exists()


def test_a_mistake_is_told_as_by_training(sample: Path) -> None:
    config = dataclasses.replace(CONFIG, batch_size=400, data=dataclasses.replace(CONFIG.data, root=sample))
    with pytest.raises(jaxseg.InputError, match="batch_size 400 is more than the 13 training images"):
        dry_run(config)


def test_times_are_told_in_their_unit() -> None:
    assert [duration(s) for s in (4.21, 200.0, 18720.0)] == ["4.21 s", "3 min 20 s", "5 h 12 min"]
    assert Timed((1.0, 3.0), (1.0, 1.0)).waiting_share == pytest.approx(1 / 3)
    assert math.isclose(Timed((1.0, 3.0), (1.0, 1.0)).each, 3.0)
