"""Checkpoints: the best and the latest stay, and come back bit for bit."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.checkpoint import Checkpoints, Progress
from jaxseg.step import TrainState

PROGRESS = Progress(epoch=1, best_step=1, best_loss=math.inf, epochs_since_best=0, running={"loss": 0.1 + 0.2})


def state(seed: int) -> TrainState:
    values = jax.random.normal(jax.random.key(seed), (3, 5))
    return TrainState(jnp.asarray(seed, jnp.int32), {"enc1": {"kernel": values}}, {}, {"mu": values * 2})


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(("best", "expected"), [(1, "1 4 5"), (3, "3 4 5"), (4, "4 5"), (5, "4 5"), (0, "4 5")])
def test_the_best_and_the_newest_two_stay(tmp_path: Path, best: int, expected: str) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(1, 6):
            checkpoints.save(step, state(step), PROGRESS._replace(best_step=min(best, step)))
        checkpoints.wait()
        assert kept(tmp_path) == set(expected.split())
        restored, _ = checkpoints.newest(jax.eval_shape(lambda: state(0)))  # pyright: ignore[reportGeneralTypeIssues]
    assert restored.step == 5


def test_they_come_back_bit_for_bit_though_the_state_was_donated(tmp_path: Path) -> None:
    saved = state(7)
    before = jax.device_get(saved)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.newest(saved) is None
        checkpoints.save(7, saved, PROGRESS)
        jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(saved)
    with Checkpoints(tmp_path) as checkpoints:
        restored, progress = checkpoints.restore(7, jax.eval_shape(lambda: state(0)))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), before)
    assert progress == PROGRESS


def test_the_same_step_again_replaces_it(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, state(5), PROGRESS)
        checkpoints.save(5, state(6), PROGRESS._replace(epoch=2))
        checkpoints.wait()
        restored, progress = checkpoints.restore(5, jax.eval_shape(lambda: state(0)))
    assert kept(tmp_path) == {"5"}
    assert (restored.step, progress.epoch) == (6, 2)


def test_what_a_killed_run_left_is_tidied(tmp_path: Path) -> None:
    for name in ("5.new", "6.new.orbax-checkpoint-tmp", "7.replaced", "8.replaced", "8", "9"):
        (tmp_path / name / "state").mkdir(parents=True)
    with Checkpoints(tmp_path):
        assert kept(tmp_path) == {"7", "8", "9"}
