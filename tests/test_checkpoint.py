"""Checkpoints: the best and the latest stay, and come back bit for bit."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxseg.checkpoint import Checkpoints, Progress
from jaxseg.step import TrainState

PROGRESS = Progress(epoch=1, best_step=1, best_loss=0.5, epochs_since_best=0)


def state(seed: int) -> TrainState:
    values = jax.random.normal(jax.random.key(seed), (3, 5))
    return TrainState(jnp.asarray(seed, jnp.int32), {"enc1": {"kernel": values}}, {}, {"mu": values * 2})


def kept(folder: Path) -> set[int]:
    return {int(path.name) for path in folder.iterdir() if path.name.isdigit()}


@pytest.mark.parametrize("losses", [[0.3, 0.5, 0.4], [math.nan, 0.5, math.nan], [math.inf, math.nan, math.nan]])
def test_the_best_and_the_latest_stay(tmp_path: Path, losses: list[float]) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        for step, loss in enumerate(losses, start=1):
            checkpoints.save(step, state(step), PROGRESS, loss)
        checkpoints.wait()
        assert checkpoints.latest_step() == 3
    ranks = [loss if math.isfinite(loss) else math.inf for loss in losses]
    best = 3 - ranks[::-1].index(min(ranks))
    assert kept(tmp_path) == {best, 3}


def test_they_come_back_bit_for_bit_though_the_state_was_donated(tmp_path: Path) -> None:
    saved = state(7)
    before = jax.device_get(saved)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, saved, PROGRESS, math.inf)
        jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)(saved)
        checkpoints.wait()
    with Checkpoints(tmp_path) as checkpoints:
        restored, progress = checkpoints.restore(7, jax.eval_shape(lambda: state(0)))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), before)
    assert progress == PROGRESS


def test_an_older_step_is_not_dropped_in_silence(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, state(5), PROGRESS, 0.1)
        with pytest.raises(RuntimeError, match="step 5 was not written"):
            checkpoints.save(5, state(5), PROGRESS, 0.1)
