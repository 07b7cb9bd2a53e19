"""What could not be read is left out from its step on, and again when the run goes on, though the file came back."""

import hashlib
import json
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxseg
from jaxseg.arrays import Batch
from jaxseg.config import to_json
from jaxseg.data.assembly import Loaded
from jaxseg.data.samples import KnownFault, Samples
from jaxseg.data.workers import Worker
from jaxseg.faults import Faults
from jaxseg.run import read_lines
from jaxseg.training import Training


def loaded(*ids: int, faults: dict[int, str] | None = None) -> Loaded:
    faults = faults or {}
    size = len(ids)
    weight = np.asarray([id_ not in faults and id_ >= 0 for id_ in ids], np.float32)
    batch = Batch(np.full((size, 2, 3, 3), 7, np.uint8), np.ones((size, 2, 3), np.uint8), weight)
    return Loaded(batch, np.asarray(ids), faults)


def test_a_fault_holds_from_its_step_on(tmp_path: Path) -> None:
    faults = Faults(tmp_path / "faults.jsonl")
    faults.settled("train", 5, loaded(3, 4, faults={3: "gone"}))
    for again in (faults, Faults(faults.path)):
        for step, weights in ((4, [1, 1, 0]), (5, [1, 0, 0]), (9, [1, 0, 0])):
            found = again.settled("train", step, loaded(4, 3, -1))
            assert found.batch.weight.tolist() == weights
            assert found.faults == ({3: "gone"} if step > 4 else {})
            assert found.batch.image.any(axis=(1, 2, 3)).tolist() == [True, step < 5, True]
            assert (found.batch.mask == 255).all(axis=(1, 2)).tolist() == [False, step > 4, False]
        assert again.settled("val", 9, loaded(3)).batch.weight.tolist() == [1]  # another image of that id
    assert [line["step"] for line in read_lines(faults.path)] == [5]


def test_of_an_image_that_comes_twice_both_are_left_out(tmp_path: Path) -> None:
    """One was read, the other not; a run that goes on reads neither."""
    found = Faults(tmp_path / "faults.jsonl").settled("train", 5, loaded(3, 3, 4)._replace(faults={3: "gone"}))
    assert found.batch.weight.tolist() == [0, 0, 1]


def test_an_earlier_fault_counts_more(tmp_path: Path) -> None:
    faults = Faults(tmp_path / "faults.jsonl")
    for step, text in ((8, "late"), (5, "early"), (6, "between")):
        faults.note("train", step, {3: text})
    for again in (faults, Faults(faults.path)):
        assert again.known["train"] == {3: KnownFault(5, "early")}
    assert len(read_lines(faults.path)) == 2


def test_it_is_on_the_disk_before_the_batch_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "faults.jsonl", []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(path.read_bytes()))
    Faults(path).settled("train", 5, loaded(3, faults={3: "gone"}))
    (content,) = synced
    assert json.loads(content) == {"split": "train", "step": 5, "image_id": 3, "error": "gone"}


@pytest.mark.parametrize("half", ['{"split": "tr', '{"split": "train", "step": 9, "image_id": 9, "error": "x"}', ""])
def test_half_a_line_that_a_crash_left_is_taken_out(tmp_path: Path, half: str) -> None:
    path = tmp_path / "faults.jsonl"
    Faults(path).note("train", 1, {1: "one"})
    path.write_text(path.read_text() + half)
    Faults(path).note("train", 2, {2: "two"})
    assert [line["image_id"] for line in read_lines(path)] == [1, 2]
    assert set(Faults(path).known["train"]) == {1, 2}


# Whole runs.


class Killed(Exception):
    """In place of SIGKILL."""


@pytest.mark.parametrize("loading", [{"threads": 2}, {"workers": 2}], ids=["threads", "workers"])
def test_a_run_that_goes_on_repeats_its_batches_though_the_files_came_back(
    sample: Path, tmp_path: Path, loading: dict[str, Any], monkeypatch: pytest.MonkeyPatch, long: bool
) -> None:
    """In training and in validation; and what was loaded ahead, and never used, is not held against an image."""
    if "workers" in loading and not long:
        pytest.skip("starts worker processes: --long")
    root = Path(shutil.copytree(sample, tmp_path / "coco"))
    data = jaxseg.Data(root=root, classes=None, height=16, width=16, on_error="skip", **loading)
    config = jaxseg.Config(
        data,
        jaxseg.UNet(widths=(4, 8)),
        epochs=4,
        batch_size=4,
        logs=jaxseg.Logs(tensorboard=False, pictures_every=99),
    )
    monkeypatch.setattr("jaxseg.data.workers.PIPE", 4096)  # no more is loaded ahead than of large batches
    seen: dict[int, list[str]] = {}
    kill_at = 11
    gone = [root / "images" / "train2017", root / "images" / "val2017"]
    away = [folder.with_name(f"away-{folder.name}") for folder in gone]
    for folder in away:
        folder.mkdir()
    advance = Training.advance

    def watched(self: Training, batch: Loaded) -> None:
        parts = b"".join(array.tobytes() for array in (*batch.batch, batch.image_ids))
        seen.setdefault(self.step, []).append(hashlib.sha256(parts).hexdigest())
        if self.step == 2 and kill_at > 0:  # some vanish, of both splits
            for folder, other in zip(gone, away, strict=True):
                for path in sorted(folder.iterdir())[::3]:
                    path.rename(other / path.name)
        if self.step == kill_at:
            raise Killed
        advance(self, batch)

    monkeypatch.setattr(Training, "advance", watched)
    with pytest.raises(Killed):
        jaxseg.train.fit(config, tmp_path / "run")
    before = read_lines(tmp_path / "run" / "faults.jsonl")
    metrics = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert {line["split"] for line in before} == {"train", "val"}
    assert min(line["step"] for line in before) > 0, before
    for folder, other in zip(gone, away, strict=True):
        for path in other.iterdir():
            path.rename(folder / path.name)
    shutil.rmtree(tmp_path / "run" / "checkpoints")  # so that all of it is repeated
    kill_at = -1
    folder = jaxseg.train.fit(config, tmp_path / "run")
    repeated = {step: digests for step, digests in seen.items() if len(digests) == 2}
    assert len(repeated) == 12
    assert {step: two for step, two in repeated.items() if two[0] != two[1]} == {}, before
    assert read_lines(folder.faults) == before
    assert read_lines(folder.metrics)[: len(metrics)] == metrics


def test_faults_do_not_slow_a_run_without_any(tmp_path: Path) -> None:
    batch = loaded(1, 2)
    assert Faults(tmp_path / "faults.jsonl").settled("train", 0, batch) is batch
    assert not (tmp_path / "faults.jsonl").exists()


# A run whose data stands still, and one whose workers die.


def resumable(sample: Path, **data: Any) -> jaxseg.Config:
    return jaxseg.Config(
        jaxseg.Data(root=sample, height=16, width=16, **data),
        jaxseg.UNet(widths=(4, 8)),
        epochs=2,
        batch_size=4,
        logs=jaxseg.Logs(every=1, tensorboard=False, pictures_every=99),
    )


def command(config: jaxseg.Config, folder: Path) -> int | str | None:
    """`python -m jaxseg.train`, in this process; its exit status."""
    script = folder.with_suffix(".py")
    script.write_text(f"from jaxseg.config import from_json\nconfig = from_json({to_json(config)!r})\n")
    try:
        jaxseg.train.main(["--config", str(script), "--workdir", str(folder)])
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.fixture(scope="module")
def undisturbed(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return results(jaxseg.train.fit(resumable(sample), tmp_path_factory.mktemp("runs") / "undisturbed").path)


def results(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("metrics.jsonl", "unet_model.pth", "unet_model_final.pth")]


def test_a_signal_while_a_read_stalls_saves_the_run(
    sample: Path,
    tmp_path: Path,
    undisturbed: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Though the policy would wait for it for a minute, and then again."""
    config, folder, released = resumable(sample, threads=1), tmp_path / "run", threading.Event()
    signalled, pixels, advance = threading.Event(), Samples.pixels, Training.advance
    slow = [False]

    def stalled(self: Samples, position: int) -> Any:
        if slow[0]:
            released.wait()
        return pixels(self, position)

    def watched(self: Training, batch: Loaded) -> None:
        advance(self, batch)
        if self.step == 2:
            slow[0] = True
            threading.Thread(target=send, daemon=True).start()

    def send() -> None:
        """Once the loop has used up what was loaded ahead, and waits."""
        time.sleep(1)
        signalled.set()
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Samples, "pixels", stalled)
        patch.setattr(Training, "advance", watched)
        status = command(config, folder)
    released.set()
    assert (status, signalled.is_set()) == (75, True)
    said = re.search(r"Stopped\. Everything up to step (\d) is saved\.", capsys.readouterr().err)
    assert said
    assert 2 <= int(said[1]) < 8
    assert command(config, folder) == 0
    assert f"Going on after epoch {(int(said[1]) - 1) // 4}, step {said[1]}." in capsys.readouterr().out
    assert results(folder) == undisturbed


def test_a_run_whose_workers_are_killed_ends_as_if_nothing_had_happened(
    sample: Path, tmp_path: Path, undisturbed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jaxseg.data.workers.PIPE", 4096)
    advance, started = Training.advance, []
    begin = Worker.begin

    def watched(self: Training, batch: Loaded) -> None:
        if self.step == 2:
            started[0].process.kill()
        advance(self, batch)

    monkeypatch.setattr(Training, "advance", watched)
    monkeypatch.setattr(Worker, "begin", lambda worker, work: (started.append(worker), begin(worker, work)))
    with pytest.warns(UserWarning, match=r"Worker process 1 of 1 was killed by signal 9"):
        assert command(resumable(sample, workers=1), tmp_path / "run") == 0
    assert len(started) == 2
    assert results(tmp_path / "run") == undisturbed


def test_a_file_of_an_earlier_version_is_told(tmp_path: Path) -> None:
    (tmp_path / "faults.jsonl").write_text('{"image_id": 3, "error": "broken"}\n')
    with pytest.raises(jaxseg.InputError, match="earlier version"):
        Faults(tmp_path / "faults.jsonl")
