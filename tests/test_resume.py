"""A run killed and started again is, bit for bit, the run that was never killed."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

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
    ("jaxseg.training.Training.advance", 1, "before anything"),
    ("jaxseg.training.Training.advance", 3, "within the first epoch"),
    ("jaxseg.checkpoint.Checkpoints.commit", 2, "while a checkpoint is written"),
    ("jaxseg.training.evaluate_all", 1, "in the validation"),
    ("jaxseg.training.report", 1, "before the epoch is recorded"),
    ("jaxseg.outcome.show", 1, "with the epoch half recorded"),
    ("jaxseg.outcome.draw_curves", 1, "with the epoch saved"),
    ("jaxseg.logs.cut", 1, "before the logs are cut"),
    ("jaxseg.training.Training.settle", 4, "with results outstanding"),
    ("jaxseg.train.choose_threshold", 1, "before the threshold is chosen"),
    ("jaxseg.outcome.save_predictions", 1, "before the last pictures"),
    ("jaxseg.outcome.write_pth", 2, "between the two weights"),
    ("jaxseg.outcome.write_json", 2, "before the last file"),
]


def test_a_run_killed_again_and_again_ends_as_if_nothing_had_happened(
    mortals: Mortals, sample: Path, whole: Path, tmp_path: Path
) -> None:
    for target, nth, when in DEATHS:
        status, printed = mortals.run(config(sample), tmp_path / "run", (target, nth, SIGKILL))
        assert status == -SIGKILL, f"not killed {when}:\n{printed}"
    status, printed = mortals.run(config(sample), tmp_path / "run")
    assert status == 0, printed
    assert_same(tmp_path / "run", whole)
