"""The average of the weights is PyTorch's, moves with each update alone, and is what a run is used by."""

import dataclasses
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import random_batch
from test_guard import Fragile, batch_of
from test_train import small
from torch_unet import needs_torch, torch

from jaxseg.checkpoint import Checkpoints
from jaxseg.ema import Average, decay_at, moved, started
from jaxseg.guard import Guard, Verdict
from jaxseg.loop import abstract_state, compile_steps
from jaxseg.losses import CrossEntropy
from jaxseg.models.unet import UNet
from jaxseg.optim import Adam, transformation
from jaxseg.pth import read_pth
from jaxseg.run import RunFolder, read_lines
from jaxseg.schedules import Constant
from jaxseg.sharding import data_parallel
from jaxseg.step import TrainState, create_state, eval_step, train_step
from jaxseg.torch_weights import flat, to_state_dict
from jaxseg.train import fit
from jaxseg.weights import read_weights

MODEL = UNet((4, 8), out_channels=1, norm="batch")
DECAY = 0.35
"""Reached after four updates."""
YES = jnp.asarray(True)


@pytest.mark.parametrize(("updates", "expected"), [(0, 0.1), (1, 2 / 11), (100, 101 / 110), (10_000, 0.999)])
def test_the_decay_is_less_at_first(updates: int, expected: float) -> None:
    assert float(decay_at(jnp.int32(updates), 0.999)) == pytest.approx(expected, rel=1e-6)


@needs_torch
@pytest.mark.parametrize("decay", [0.05, 0.9], ids=["from the first on", "less at first"])
def test_it_is_pytorchs(decay: float) -> None:
    """AveragedModel's with its own average where the decay is below that of the first step; else with that of ours."""
    swa = torch.optim.swa_utils
    network = torch.nn.BatchNorm1d(3)

    def draw() -> tuple[dict, dict]:
        values = {name: np.random.default_rng(seed).normal(size=3) for seed, name in enumerate(names, next(seeds))}
        with torch.no_grad():
            for name, tensor in network.state_dict().items():
                if name in values:
                    tensor.copy_(torch.from_numpy(values[name]))
        params, stats = ({n: jnp.float32(values[n]) for n in part} for part in (names[:2], names[2:]))
        return params, stats

    def warm(average: torch.Tensor, value: torch.Tensor, averaged: torch.Tensor) -> torch.Tensor:
        n = int(averaged) - 1  # it counts the first weights
        share = 1 - min(decay, (1 + n) / (10 + n))
        return average + (share * (value - average)).to(average.dtype)  # of the count of batches, a whole number

    names, seeds = ["weight", "bias", "running_mean", "running_var"], iter(range(0, 1000, 10))
    average = started(*draw())
    own = swa.get_ema_multi_avg_fn(decay) if decay < 0.1 else None
    theirs = swa.AveragedModel(network, multi_avg_fn=own, avg_fn=None if own else warm, use_buffers=True)
    theirs.update_parameters(network)
    for _ in range(20):
        average = moved(average, decay, *draw(), YES)
        theirs.update_parameters(network)
    expected = theirs.module.state_dict()
    for name, value in {**average.params, **average.batch_stats}.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert int(average.updates) == 20


# In a step.


def settings_of(accumulate: int) -> dict:
    update = transformation(Adam(1e-2), Constant(), clip_norm=None, accumulate=accumulate, steps=9, epochs=1)
    return {"model": MODEL, "optimizer": update}


@cache
def new(accumulate: int = 1) -> TrainState:
    create = partial(create_state, image_shape=(8, 12, 3), ema=DECAY, **settings_of(accumulate))
    return jax.jit(create)(jax.random.key(0))


@cache
def step(accumulate: int = 1):
    return jax.jit(partial(train_step, loss=Fragile(), guard=Guard("skip"), ema=DECAY, **settings_of(accumulate)))


def leaves(average: Average | TrainState | None) -> dict[str, np.ndarray]:
    assert average is not None
    trees = {**flat(average.params), **flat(average.batch_stats)}
    return {name: np.asarray(leaf, np.float64) for name, leaf in trees.items()}


def assert_equal(found: Average | TrainState | None, expected: dict[str, np.ndarray], rtol: float = 0) -> None:
    for name, value in leaves(found).items():
        np.testing.assert_allclose(value, expected[name], rtol=rtol, atol=rtol, err_msg=name)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_moves_with_each_update_alone(accumulate: int) -> None:
    """Not where gradients are kept for later, a batch is left out, or nothing in it counts."""
    state = new(accumulate)
    expected, updates = leaves(state), 0
    for seed in range(8):
        batch = batch_of(seed, "gradient" if seed == 2 else None)
        if seed == 3:
            batch = batch._replace(weight=np.zeros(2, np.float32))
        before = state
        state, result = step(accumulate)(state, batch)
        assert (int(result.verdict) == Verdict.SOUND) == (seed != 2)
        if any((leaves(before)[name] != value).any() for name, value in leaves(state).items() if "kernel" in name):
            decay = min(DECAY, (1 + updates) / (10 + updates))
            expected = {name: decay * expected[name] + (1 - decay) * new for name, new in leaves(state).items()}
            updates += 1
        else:
            assert_equal(state.average, leaves(before.average))
        assert_equal(state.average, expected, rtol=1e-5)
    assert updates == 6 // accumulate
    assert state.average is not None
    assert int(state.average.updates) == updates


def test_the_evaluation_is_of_the_average() -> None:
    state, _ = step()(new(), batch_of(0))
    assert state.average is not None
    of_average = state._replace(params=state.average.params, batch_stats=state.average.batch_stats, average=None)
    look = jax.jit(partial(eval_step, model=MODEL, loss=CrossEntropy()))
    found, expected, raw = (look(s, random_batch(9))[0] for s in (state, of_average, state._replace(average=None)))
    assert float(found.loss) == float(expected.loss) != float(raw.loss)


# In a run.


@pytest.fixture(scope="module")
def run(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fit(small(sample, ema=DECAY), tmp_path_factory.mktemp("ema") / "run")


def states(run: RunFolder, sample: Path, ema: float | None = DECAY) -> TrainState:
    config = small(sample, ema=ema)
    config = dataclasses.replace(config, model=config.model.clone(out_channels=1))
    with Checkpoints(run.checkpoints) as checkpoints:
        found = checkpoints.newest(abstract_state(compile_steps(config, data_parallel(4))))
    assert found is not None
    return found[0]


def test_a_run_is_used_by_its_average(run: RunFolder, sample: Path) -> None:
    """The `.pth` file, and what `jaxseg.load`, evaluate, predict, export and convert read: not the last weights."""
    state = states(run, sample)
    assert state.average is not None
    named = to_state_dict(state.average.params, state.average.batch_stats, batches=int(state.step))
    for found in (read_pth(run.final_weights).tensors, read_weights(run.path, checkpoint="latest").state_dict):
        assert list(found) == list(named)
        for name, value in named.items():
            np.testing.assert_array_equal(found[name], value, name)
    kernel = np.asarray(state.params["enc1"]["0"]["kernel"])
    assert not np.array_equal(kernel, read_weights(run.path, checkpoint="latest").leaves["enc1/0/kernel"])


def test_the_validation_is_of_the_average(run: RunFolder, sample: Path, tmp_path: Path) -> None:
    """Of the same training as without it."""
    plain = fit(small(sample), tmp_path)
    ours, theirs = ([r for r in read_lines(folder.metrics) if "val_loss" in r] for folder in (run, plain))
    assert [record["train_loss"] for record in ours] == [record["train_loss"] for record in theirs]
    assert all(a["val_loss"] != b["val_loss"] for a, b in zip(ours, theirs, strict=True))
    assert_equal(states(run, sample), leaves(states(plain, sample, ema=None)))


def test_it_begins_with_the_weights_that_are_given(run: RunFolder, sample: Path, tmp_path: Path) -> None:
    """A rate of 0 keeps them, and with them their average."""
    given = fit(small(sample, ema=0.9, optimizer=Adam(0.0), epochs=1), tmp_path / "next", init=run.path)
    ours, theirs = (read_weights(folder.path).leaves for folder in (given, run))
    np.testing.assert_allclose(ours["enc1/0/kernel"], theirs["enc1/0/kernel"], rtol=1e-6, atol=1e-8)
