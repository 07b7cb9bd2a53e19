"""The logs: lines that any JSON reader takes, and no step twice."""

import json
import math
from pathlib import Path

from jaxseg.logs import Logs, RunLog
from jaxseg.run import RunFolder, read_lines

QUIET = Logs(tensorboard=False)


def test_numbers_that_json_lacks_become_null(tmp_path: Path) -> None:
    with RunLog(RunFolder(tmp_path), QUIET, step=0, config={}) as log:
        log.numbers(1, {"val_iou": math.nan, "val_loss": math.inf, "name": "NaN"})
    line = (tmp_path / "metrics.jsonl").read_text()
    strict = json.loads(line, parse_constant=lambda word: 1 / 0)
    assert strict == {"step": 1, "val_iou": None, "val_loss": None, "name": "NaN"}


def test_going_on_takes_out_what_will_be_done_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with RunLog(folder, QUIET, step=0, config={}) as log:
        for step in (1, 2, 3):
            log.numbers(step, {"batch_loss": step})
            log.clock(step, {"epoch_seconds": 1.0})
    folder.metrics.write_text(folder.metrics.read_text() + '{"step": 4, "ba')
    with RunLog(folder, QUIET, step=2, config={}) as log:
        log.numbers(3, {"batch_loss": 30})
    assert [record["step"] for record in read_lines(folder.metrics)] == [1, 2, 3]
    assert read_lines(folder.metrics)[-1]["batch_loss"] == 30
    assert [record["step"] for record in read_lines(folder.timings)] == [1, 2]
