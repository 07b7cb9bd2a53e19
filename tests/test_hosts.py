"""Several processes train one network: each loads its rows, all stop at the same step and go on, one's end is all's."""

import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM

import numpy as np
import pytest
from mortal import Death, Mortals, order
from test_resume import assert_same, config

import jaxseg
from jaxseg.data.loader import eval_batches, train_batches
from jaxseg.data.samples import open_split
from jaxseg.run import read_lines

FEW_OPTIMISATIONS = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""The second process has no use of the compile cache: JAX lets the first alone write it."""


@pytest.fixture(scope="module")
def mortals() -> Iterator[tuple[Mortals, Mortals]]:
    mortals = Mortals(), Mortals()
    yield mortals
    for one in mortals:
        one.close()


def settings(root: Path, **changes: object) -> jaxseg.Config:
    return config(root, **{"epochs": 2, "checkpointing": jaxseg.Checkpointing(minutes=None), **changes})


def devices(number: int) -> str:
    return f"--xla_force_host_platform_device_count={number} {FEW_OPTIMISATIONS}"


def pair(
    mortals: tuple[Mortals, Mortals],
    configs: Sequence[jaxseg.Config],
    workdir: Path,
    first: Sequence[Death] = (),
    second: Sequence[Death] = (),
) -> list[tuple[int, str]]:
    """How two processes of two devices each end."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    for i, deaths in enumerate((first, second)):
        flags = ("--hosts", address, "2", str(i))
        mortals[i].start(order(configs[i], workdir, deaths=deaths, flags=flags, xla=devices(2)))
    return [one.end() for one in mortals]


def test_the_rows_of_all_processes_are_the_batch(sample: Path) -> None:
    data = settings(sample).data
    train = open_split(data, "train")
    val = open_split(data, "val", train.table)
    for load in (
        lambda rows: train_batches(train, 6, seed=3, start=1, rows=rows),
        lambda rows: eval_batches(val, 6, rows=rows),
    ):
        with load(slice(None)) as whole, load(slice(0, 3)) as one, load(slice(3, 6)) as other:
            expected, *parts = (next(batches) for batches in (whole, one, other))
        for name in expected.batch._fields:
            both = np.concatenate([getattr(part.batch, name) for part in parts])
            np.testing.assert_array_equal(both, getattr(expected.batch, name))
        np.testing.assert_array_equal(np.concatenate([part.image_ids for part in parts]), expected.image_ids)
        assert len(set(expected.image_ids.tolist())) > 3


def test_two_processes_stop_at_one_step_go_on_and_end_as_if_nothing_had_happened(
    mortals: tuple[Mortals, Mortals], sample: Path, tmp_path: Path, long: bool
) -> None:
    whole, stopped, alone = (tmp_path / name for name in ("whole", "stopped", "alone"))
    configs = [settings(sample)] * 2
    ends = pair(mortals, configs, whole)
    assert [status for status, _ in ends] == [0, 0], ends
    assert "4 of 4 devices (cpu), of 2 processes" in ends[0][1]
    assert "Done: 2 epochs" in ends[0][1]
    assert not any(word in ends[1][1] for word in ("devices", "epoch", "Done")), ends  # JAX itself may say something

    ends = pair(mortals, configs, stopped, (), [("jaxseg.training.Training.advance", 1, SIGTERM)])
    assert [status for status, _ in ends] == [75, 75], ends
    assert "Stopped. Everything up to step 2 is saved. The same command goes on." in ends[0][1]
    assert [path.name for path in (stopped / "checkpoints").iterdir()] == ["2"]
    assert not (stopped / "run.lock").exists()
    shutil.copytree(stopped, alone)

    ends = pair(mortals, configs, stopped)
    assert [status for status, _ in ends] == [0, 0], ends
    assert "Going on after epoch 0, step 2." in ends[0][1]
    assert_same(stopped, whole)

    if long:  # one process of as many devices goes on from there; its sums have another order
        mortals[0].start(order(configs[0], alone, xla=devices(4)))
        status, printed = mortals[0].end()
        assert status == 0, printed
        for one, two in zip(*(read_lines(folder / "metrics.jsonl") for folder in (alone, whole)), strict=True):
            assert one == {name: pytest.approx(value, rel=1e-3, abs=1e-3) for name, value in two.items()}


def test_two_processes_go_on_with_what_one_has_saved(
    mortals: tuple[Mortals, Mortals], sample: Path, tmp_path: Path, long: bool
) -> None:
    if not long:
        pytest.skip("--long: two more starts")
    deaths = [("jaxseg.training.Training.advance", 2, SIGTERM)]
    mortals[0].start(order(settings(sample), tmp_path, deaths=deaths, xla=devices(4)))
    assert mortals[0].end()[0] == 75
    ends = pair(mortals, [settings(sample)] * 2, tmp_path)
    assert [status for status, _ in ends] == [0, 0], ends
    assert "Going on after epoch 0, step 2." in ends[0][1]


def test_what_ends_one_process_ends_the_other_and_is_told(
    mortals: tuple[Mortals, Mortals], sample: Path, tmp_path: Path, long: bool
) -> None:
    if not long:
        pytest.skip("--long: a minute, until a killed process is missed")
    other = settings(sample, optimizer=jaxseg.Adam(1e-2))
    ends = pair(mortals, [settings(sample), other], tmp_path / "other")
    assert [status for status, _ in ends] == [1, 1], ends
    assert "means another run than the first one" in ends[0][1]
    assert "optimizer.learning_rate: 0.001 there, 0.01 here" in ends[0][1]

    ends = pair(mortals, [settings(sample, batch_size=5)] * 2, tmp_path / "odd")
    assert [status for status, _ in ends] == [1, 1], ends
    assert "batch_size 5 is not divisible by 2 processes: use 4 or 6." in ends[0][1] + ends[1][1]

    ends = pair(mortals, [settings(sample)] * 2, tmp_path / "killed", (), [("jaxseg.training.report", 1, SIGKILL)])
    assert ends[1][0] == -SIGKILL
    assert ends[0][0] == 1, ends
    assert "goes on" in ends[0][1].splitlines()[-1]

    ends = pair(mortals, [settings(sample)] * 2, tmp_path / "first", [("jaxseg.training.report", 1, SIGKILL)])
    assert ends[0][0] == -SIGKILL
    assert ends[1][0] != 0, ends
