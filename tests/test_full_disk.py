"""A run on a disk that fills up, turns read-only or is emptied under it ends in the bytes of a run left in peace."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from disks import Disk, disk  # noqa: F401  the fixture
from harm import flip

import jaxseg
from jaxseg import training
from jaxseg.errors import InputError
from jaxseg.run import RunFolder
from jaxseg.shelf import Shelf
from jaxseg.train import fit
from jaxseg.training import Training

EPOCHS = 4


def config(root: Path) -> jaxseg.Config:
    data = jaxseg.Data(root=root, classes=("laptop", "tv", "cell phone"), height=32, width=48)
    return jaxseg.Config(
        data,
        jaxseg.UNet(widths=(4, 8), norm="batch"),
        optimizer=jaxseg.Adam(1e-2),
        epochs=EPOCHS,
        batch_size=4,
        logs=jaxseg.Logs(every=1, pictures_every=1, pictures=1),
        checkpointing=jaxseg.Checkpointing(steps=1),
    )


@pytest.fixture(scope="module")
def peace(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that nothing happened to."""
    return fit(config(sample), tmp_path_factory.mktemp("peace") / "run")


@contextmanager
def happening(events: dict[int, Callable[[], Any]]) -> Iterator[None]:
    """Something happens right after each of these steps, and all of it does."""
    advance, left = Training.advance, dict(events)

    def and_then(self: Training, *args: Any) -> None:
        advance(self, *args)
        if self.step in left:
            left.pop(self.step)()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "advance", and_then)
        yield
    assert not left


def assert_the_same(run: RunFolder, peace: RunFolder) -> None:
    """All that is deterministic; and nothing unfinished lies about."""
    for name in ("metrics.jsonl", "unet_model_final.pth", "unet_model.pth", "model.json"):
        assert (run.path / name).read_bytes() == (peace.path / name).read_bytes(), name
    assert Shelf(run.checkpoints).steps()[-2:] == Shelf(peace.checkpoints).steps()[-2:]
    assert not [step for step in Shelf(run.checkpoints).steps() if Shelf(run.checkpoints).damage(step)]
    unfinished = [path.name for path in run.path.rglob("*") if path.name.startswith(".") or ".new" in path.name]
    assert not unfinished


def assert_whole(folder: Path) -> None:
    """Nothing under its final name is half there."""
    for path in folder.glob("*.json"):
        json.loads(path.read_text())
    for path in folder.glob("*.png"):
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82"), path
    assert not list(folder.glob("*.pth"))


@contextmanager
def forbidden() -> Iterator[None]:
    """No folder and no file can be made: as by a lost permission."""

    def refuse(path: Any, *_: Any, **__: Any) -> None:
        raise PermissionError(13, os.strerror(13), str(path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "mkdir", refuse)
        patch.setattr(os, "makedirs", refuse)
        yield


def delete(folder: Path) -> None:
    """Though something may be writing into it."""
    for _ in range(100):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def lines(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_a_full_disk_then_room_again(
    sample: Path,
    peace: RunFolder,
    disk: Disk,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = RunFolder(disk.path / "run")
    with happening({3: disk.fill, 11: disk.empty}):
        fit(config(sample), run.path)
    assert_the_same(run, peace)
    told = capsys.readouterr().err
    (first,) = lines(told, "can't be written: No space left on device. Make room")
    assert "Training goes on" in first or "training goes on" in first
    assert lines(told, "could be written again")


def test_a_disk_that_stays_full_is_told_at_the_end_and_the_same_command_finishes(
    sample: Path,
    peace: RunFolder,
    disk: Disk,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = RunFolder(disk.path / "run")
    with happening({6: disk.fill}), pytest.raises(InputError, match=r"No space left on device\. Make room") as caught:
        fit(config(sample), run.path)
    kept = Shelf(run.checkpoints).steps()
    assert f"newest one on disk is of step {kept[-1]}" in str(caught.value)
    assert "give the same command again" in str(caught.value)
    assert_whole(run.path)
    disk.empty()
    fit(config(sample), run.path)
    assert_the_same(run, peace)
    assert "Going on after epoch 1" in capsys.readouterr().out


def test_read_only_forbidden_and_deleted(
    sample: Path,
    peace: RunFolder,
    tmp_path: Path,
    disk: Disk,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One after another, in one run."""
    run, refusal = RunFolder(tmp_path / "run"), forbidden()
    events = {
        2: lambda: disk.cover(run.path),
        4: disk.uncover,
        5: refusal.__enter__,
        7: lambda: refusal.__exit__(None, None, None),
        9: lambda: delete(run.checkpoints),
        11: lambda: delete(run.path),
    }
    with happening(events):
        fit(config(sample), run.path)
    assert_the_same(run, peace)
    told = capsys.readouterr().err
    for words in (
        ("can't be written: Read-only file system", "mount it writable"),
        ("can't be written: Permission denied", "the right to read and write"),
        ("checkpoints was deleted under the run",),
        ("metrics.jsonl was deleted or replaced under the run", "written again"),
        ("a checkpoint could be written again",),
    ):
        assert lines(told, *words), words


def test_a_damaged_checkpoint_costs_some_steps_and_no_byte(
    sample: Path, peace: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(shutil.copytree(peace.path, tmp_path / "run"))
    run.model.unlink()
    step = Shelf(run.checkpoints).steps()[-1]
    flip(run.checkpoints / str(step) / "state" / "manifest.ocdbt")
    fit(config(sample), run.path)
    assert_the_same(run, peace)
    told = capsys.readouterr().err
    assert lines(told, f"{step} is damaged: state/manifest.ocdbt has changed", f"goes on from step {step - 1}")
    assert (run.checkpoints / f"{step}.damaged").is_dir()


def test_a_lost_best_checkpoint_is_told_and_the_last_weights_stand_in(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, after = RunFolder(tmp_path / "run"), training.after_epoch
    monkeypatch.setattr(training, "after_epoch", lambda progress, step, _: after(progress, step, 1.0 + step))
    with happening({11: lambda: flip(run.checkpoints / "3" / "state" / "_METADATA")}):
        fit(config(sample), run.path)
    told = capsys.readouterr()
    assert "the best after step 3" in told.out
    assert lines(told.err, "The best checkpoint is lost", "3 is damaged: state/_METADATA has changed", "stand in")
    assert run.best_weights.read_bytes() == run.final_weights.read_bytes()
