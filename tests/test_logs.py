"""The logs: lines that any JSON reader takes, and no step twice."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from jaxseg.board import event_files
from jaxseg.logs import Logs, RunLog
from jaxseg.run import RunFolder, read_lines

QUIET = Logs(tensorboard=False)


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    with RunLog(RunFolder(tmp_path), QUIET, step=0, lengths={}, config={}) as log:
        log.numbers(1, {"val_iou": math.nan, "val_loss": math.inf, "name": "NaN"})
    line = (tmp_path / "metrics.jsonl").read_text()
    strict = json.loads(line, parse_constant=lambda word: 1 / 0)
    assert strict == {"step": 1, "val_iou": None, "val_loss": None, "name": "NaN"}


def test_going_on_takes_out_what_will_be_done_again(tmp_path: Path) -> None:
    """Also of the same step, and what was being written."""
    folder = RunFolder(tmp_path)
    with RunLog(folder, QUIET, step=0, lengths={}, config={}) as log:
        for step in (1, 2):
            log.numbers(step, {"batch_loss": step})
            log.clock(step, {"epoch_seconds": 1.0})
        lengths = log.secured()
        log.numbers(2, {"val_loss": 2})
        log.numbers(3, {"batch_loss": 3})
    folder.metrics.write_text(folder.metrics.read_text() + '{"step": 4, "ba')
    with RunLog(folder, QUIET, step=2, lengths=lengths, config={}) as log:
        log.numbers(2, {"val_loss": 20})
    assert read_lines(folder.metrics) == [
        {"step": 1, "batch_loss": 1},
        {"step": 2, "batch_loss": 2},
        {"step": 2, "val_loss": 20},
    ]
    assert [record["step"] for record in read_lines(folder.timings)] == [1, 2]


def test_a_new_run_leaves_nothing_of_one_that_saved_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for _ in range(2):
        with RunLog(folder, Logs(), step=0, lengths={}, config={}) as log:
            log.numbers(1, {"batch_loss": 1})
    assert len(read_lines(folder.metrics)) == len(event_files(tmp_path)) == 1


def test_a_log_that_was_cut_short_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = RunFolder(tmp_path)
    with RunLog(folder, QUIET, step=0, lengths={}, config={}) as log:
        log.numbers(1, {"batch_loss": 1})
        lengths = log.secured()
    folder.metrics.write_text("")
    RunLog(folder, QUIET, step=1, lengths=lengths, config={}).__exit__()
    assert "metrics.jsonl is shorter than when the checkpoint was saved" in capsys.readouterr().out
    assert folder.metrics.read_text() == ""


def test_tensorboard_shows_each_step_once_after_any_number_of_restarts(tmp_path: Path) -> None:
    """Curves and pictures, those of a torn file, and those that a reader saw before they were taken back."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    folder, panel, lengths, at = RunFolder(tmp_path), np.zeros((8, 8, 3), np.uint8), {}, 0
    looking = loader.EventAccumulator(str(tmp_path), {"scalars": 0, "images": 0})
    for life in range(4):
        with RunLog(folder, Logs(), step=at, lengths=lengths, config={}) as log:
            for step in range(at + 1, at + 6):
                log.numbers(step, {"batch_loss": step + life / 10})
                log.pictures(step, {"validation/0": panel + step})
                if step == at + 3:
                    lengths, saved = log.secured(), step
            at = saved
        looking.Reload()
        if life < 3:  # killed while it wrote
            with event_files(tmp_path)[-1].open("ab") as file:
                file.write(b"\x20\x00\x00\x00torn")
    expected = [(step, step + min(3, (step - 1) // 3) / 10) for step in range(1, 15)]
    for events in (looking, loader.EventAccumulator(str(tmp_path), {"scalars": 0, "images": 0}).Reload()):
        points = [(point.step, pytest.approx(point.value)) for point in events.Scalars("batch_loss")]
        assert points == expected
        assert [picture.step for picture in events.Images("validation/0")] == list(range(1, 15))
