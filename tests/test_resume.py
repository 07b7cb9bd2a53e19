"""A run killed, or stopped by a signal, and started again is, bit for bit, the run that went through."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM

import pytest
from mortal import Mortals
from test_train import small

import jaxseg

SAME = ("metrics.jsonl", "unet_model.pth", "unet_model_final.pth", "model.json", "model.txt", "faults.jsonl")


def config(root: Path, **changes: object) -> jaxseg.Config:
    """Three epochs of three steps; a record each two steps, a checkpoint after each step."""
    logs = jaxseg.Logs(every=2, pictures_every=2, pictures=2)
    given = {"epochs": 3, "logs": logs, "checkpointing": jaxseg.Checkpointing(steps=1), **changes}
    return dataclasses.replace(small(root), **given)


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    mortals = Mortals()
    yield mortals
    mortals.close()


@pytest.fixture(scope="module")
def whole(mortals: Mortals, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never killed, with checkpoints at the ends of its epochs alone."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    status, printed = mortals.run(config(sample, checkpointing=jaxseg.Checkpointing(minutes=None)), folder)
    assert status == 0, printed
    return folder


def assert_same(folder: Path, whole: Path) -> None:
    for name in SAME:
        there, expected = folder / name, whole / name
        assert there.exists() == expected.exists(), name
        assert not expected.exists() or there.read_bytes() == expected.read_bytes(), name
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


DEATHS = [
    ("jaxseg.training.Training.advance", 3, "within the first epoch"),
    ("jaxseg.checkpoint.Checkpoints.commit", 1, "while a checkpoint is written"),
    ("jaxseg.outcome.show", 1, "with the epoch half recorded"),
    ("jaxseg.training.Training.settle", 4, "with results outstanding"),
    ("jaxseg.outcome.write_pth", 2, "between the two weights"),
]
MORE_DEATHS = [
    ("jaxseg.training.Training.advance", 1, "before anything"),
    *DEATHS[:2],
    ("jaxseg.training.evaluate_all", 1, "in the validation"),
    ("jaxseg.training.report", 1, "before the epoch is recorded"),
    DEATHS[2],
    ("jaxseg.outcome.draw_curves", 1, "with the epoch saved"),
    ("jaxseg.logs.cut", 1, "before the logs are cut"),
    DEATHS[3],
    ("jaxseg.train.choose_threshold", 1, "before the threshold is chosen"),
    ("jaxseg.outcome.save_predictions", 1, "before the last pictures"),
    DEATHS[4],
    ("jaxseg.outcome.write_json", 2, "before the last file"),
]


def test_a_run_killed_again_and_again_ends_as_if_nothing_had_happened(
    mortals: Mortals, sample: Path, whole: Path, tmp_path: Path, long: bool
) -> None:
    for target, nth, when in MORE_DEATHS if long else DEATHS:
        status, printed = mortals.run(config(sample), tmp_path / "run", (target, nth, SIGKILL))
        assert status == -SIGKILL, f"not killed {when}:\n{printed}"
    status, printed = mortals.run(config(sample), tmp_path / "run")
    assert status == 0, printed
    assert_same(tmp_path / "run", whole)


STOPS = [
    ("jaxseg.training.Training.advance", 2, SIGINT, "Everything up to step 2 is saved"),
    ("jaxseg.training.evaluate_all", 1, SIGTERM, "Everything up to step 3 is saved"),
    ("jaxseg.outcome.write_pth", 2, SIGTERM, "All epochs are trained and saved"),
]
MORE_STOPS = [
    ("jaxseg.train.start", 1, SIGTERM, "No step was trained"),
    *STOPS[:2],
    ("jaxseg.training.report", 1, SIGINT, "Everything up to step 3 is saved"),
    ("jaxseg.data.samples.Samples.at", 1, SIGTERM, "Everything up to step 3 is saved"),
    ("jaxseg.outcome.draw_curves", 1, SIGTERM, "Everything up to step 6 is saved"),
    ("jaxseg.train.choose_threshold", 1, SIGINT, "All epochs are trained and saved"),
    STOPS[2],
]


def test_a_run_stopped_again_and_again_ends_as_if_nothing_had_happened(
    mortals: Mortals,
    sample: Path,
    whole: Path,
    tmp_path: Path,
    long: bool,
) -> None:
    """Each start gets as far as its signal, and what was trained is kept, though no checkpoint was due."""
    settings = config(sample, checkpointing=jaxseg.Checkpointing(minutes=None))
    for target, nth, number, said in MORE_STOPS if long else STOPS:
        status, printed = mortals.run(settings, tmp_path / "run", (target, nth, number))
        assert status == 75, f"{target}:\n{printed}"
        assert f"{number.name}: stopping where nothing is lost. Once more stops at once." in printed
        assert printed.splitlines()[-1].startswith(f"Stopped. {said}"), printed
        assert printed.endswith(" The same command goes on.\n")
        assert "Traceback" not in printed
        assert not (tmp_path / "run" / "run.lock").exists()
    status, printed = mortals.run(settings, tmp_path / "run")
    assert status == 0, printed
    assert_same(tmp_path / "run", whole)


def test_a_second_signal_stops_at_once_and_leaves_the_last_checkpoint(
    mortals: Mortals,
    sample: Path,
    whole: Path,
    tmp_path: Path,
    long: bool,
) -> None:
    for first, second in [(SIGTERM, SIGTERM), (SIGINT, SIGINT), (SIGTERM, SIGINT)] if long else [(SIGINT, SIGINT)]:
        folder = tmp_path / f"{first}-{second}"
        deaths = ("jaxseg.training.Training.advance", 3, first), ("jaxseg.training.Training.save", 3, second)
        status, printed = mortals.run(config(sample), folder, *deaths)
        assert status in (-second, 128 + second), printed
        assert "Stopped." not in printed
        status, printed = mortals.run(config(sample), folder)
        assert status == 0, printed
        assert re.search("Going on after epoch 0, step [12]", printed), "the second may not have been whole"
        assert_same(folder, whole)
