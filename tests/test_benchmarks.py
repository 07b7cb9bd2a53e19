"""Every row of the speed table can be measured, by both sides, and says what was measured."""

import contextlib
import io
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch_unet import needs_torch

from jaxseg.data.samples import Data, open_split

pytestmark = needs_torch
BENCHMARKS = Path(__file__).parents[1] / "experiments" / "benchmarks"
BRIEF: dict[str, Any] = {"times": 3, "seconds": 1, "modes": ("eager", "channels_last")}


@pytest.fixture(scope="module")
def suite() -> Iterator[SimpleNamespace]:
    """Its modules; what would be a process of its own is called here instead."""
    pytest.importorskip("cv2", reason="the peer reads images with OpenCV: pip install opencv-python-headless")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import cases
        import copies
        import one_side
        import peaks
        import rows_alone
        import rows_together
        import torch_peer
        import turns

        def run(task: Any) -> Any:
            task = one_side.task_of(task.to_json())
            with contextlib.redirect_stdout(io.StringIO()):
                found = (one_side.ours if task.side == "jaxseg" else one_side.theirs)(task)
            return one_side.Found(**json.loads(json.dumps(found._asdict())))

        patch.setattr(peaks, "SIDE", 64)
        patch.setattr(peaks, "BYTES", 2**16)
        patch.setattr(rows_alone, "run", run)
        patch.setattr(rows_alone, "WORKERS", (0,))  # a process that has threads had better not fork
        patch.setattr(torch_peer, "use_the_machine", lambda: None)
        yield SimpleNamespace(
            cases=cases,
            copies=copies,
            alone=rows_alone,
            together=rows_together,
            torch=torch_peer,
            turns=turns,
            tiny=cases.tiny(),
        )


def check(row: Any, unit: str) -> None:
    assert row.unit == unit
    assert min(row.ours) > 0
    assert min(row.theirs) > 0
    assert row.mode
    ratio = row.to_json()["ratio_best"]
    assert ratio == pytest.approx(min(row.theirs) / min(row.ours))


def test_rows_of_one_process(suite: SimpleNamespace) -> None:
    for case in suite.tiny.training:
        row = suite.together.training(case, **BRIEF)
        check(row, "ms")
        assert f"{case.batch / min(row.ours) * 1000:,.1f} images/s" in row.note
    check(suite.together.inference(suite.tiny.inference[0], **BRIEF), "ms")
    rows = list(suite.together.growth(suite.tiny.sizes, **BRIEF))
    assert [row.case for row in rows] == ["tiny, 32 x 32, batch 2"]
    assert "ns a pixel" in rows[0].note


def test_rows_of_processes(suite: SimpleNamespace, sample: Path) -> None:
    files, case, how = open_split(Data(root=sample), "train").files, suite.tiny.epoch[0], {"turns": 1}
    check(suite.alone.loader(case, files, 4, count=2, **how), "ms an image")
    row = suite.alone.epoch(case, files, 4, count=2, mode="eager", **how)
    check(row, "s")
    assert len(row.ours) == len(row.theirs) == 2
    assert "waiting for data" in row.note
    for row in suite.alone.memory(case, mode="eager"):
        check(row, "MB")


def test_other_weights_are_noticed(suite: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite.torch, "load_strictly", lambda *_: None)
    with pytest.raises(AssertionError, match="the first losses of tiny"):
        suite.together.training(suite.tiny.training[0], **BRIEF)
    with pytest.raises(AssertionError, match="the probabilities of tiny"):
        suite.together.inference(suite.tiny.inference[0], **BRIEF)


def test_sides_take_turns_and_the_hopeless_leave(suite: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = itertools.count(0.0, 0.0), []
    now = [0.0]
    monkeypatch.setattr(suite.turns.time, "perf_counter", lambda: now[0] + next(clock))

    def side(name: str, seconds: float) -> Any:
        def call() -> None:
            order.append(name)
            now[0] += seconds

        return call

    peers = {"fast": side("fast", 2.0), "near": side("near", 2.2), "slow": side("slow", 3.0)}
    ours, theirs = suite.turns.in_turn(side("ours", 1.0), peers, times=4, seconds=100)
    assert ours == pytest.approx([1.0] * 4)
    assert {name: len(found) for name, found in theirs.items()} == {"fast": 4, "near": 4, "slow": 1}
    assert order == ["ours", "fast", "near", "slow", *["ours", "fast", "near"] * 3]
    short, _ = suite.turns.in_turn(side("ours", 0.09), {"fast": side("fast", 1.0)}, times=5, seconds=100)
    assert len(short) == 5
    assert order[13:20] == ["ours", "ours", "ours", "ours", "fast", "ours", "ours"], (
        "the first of a turn does not count"
    )
    row = suite.turns.compared("row", "case", "ms", ours, theirs, scale=1000)
    assert (row.mode, row.ratio(min), row.ours[0]) == ("fast", pytest.approx(2.0), pytest.approx(1000))
    assert set(row.others) == {"near", "slow"}
    few, _ = suite.turns.in_turn(side("ours", 1.0), {}, times=30, seconds=0.5)
    assert len(few) == 3
    lines = suite.turns.table([row]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert "2.00" in lines[2]


def test_the_flops_are_those_of_the_convolutions(suite: SimpleNamespace) -> None:
    case = suite.cases.TINY  # 16 x 24 in two levels: widths 4 and 8
    above, below = 9 * (3 * 4 + 4 * 4 + 8 * 4 + 4 * 4) + 4, 9 * (4 * 8 + 8 * 8) + 4 * 8 * 4
    forward = 2 * case.batch * 16 * 24 * (above + below / 4)
    first = 2 * case.batch * 16 * 24 * 9 * 3 * 4  # no gradient of the image
    assert suite.torch.training_flops(case) == 3 * forward - first
    assert suite.torch.training_flops(suite.cases.ORIGINAL) == pytest.approx(2 * 221e9, rel=0.01)


def test_copies_are_as_many_as_asked(suite: SimpleNamespace, sample: Path, tmp_path: Path) -> None:
    files = open_split(Data(root=sample), "train").files
    root = suite.copies.write_copies(files, 40, tmp_path / "coco")
    samples = open_split(Data(root=root), "train")
    assert len(samples) == 40
    assert (samples.pixels(1)[1] == samples.pixels(17)[1]).all(), "16 images, again and again"
    assert samples.pixels(1)[1].any()


def test_the_command(long: bool, tmp_path: Path) -> None:
    if not long:
        pytest.skip("starts many processes, and compiles: --long")
    pytest.importorskip("cv2", reason="the peer reads images with OpenCV")
    command = [sys.executable, str(BENCHMARKS / "speed.py"), "--tiny", "--times", "3", "--seconds", "1"]
    command += ["--turns", "1", "--out", str(tmp_path / "speed.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "speed.json").read_text())
    names = [row["name"] for row in found["rows"]]
    steps = [name for name in names if name.endswith("step from files")]
    assert steps == ["4 images: step from files", "40 images: step from files"]
    assert sum(name.startswith("command to first step") for name in names) == 2
    assert len([line for line in done.stdout.splitlines() if line.startswith("| ")]) == len(names) + 2
