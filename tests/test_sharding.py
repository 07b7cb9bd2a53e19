"""Eight devices train as one does: the number of devices is not part of the result."""

import jax
import numpy as np
import pytest
from batches import join, random_batch

from jaxseg.config import Config
from jaxseg.data.samples import Data
from jaxseg.loop import Compiled, compile_steps
from jaxseg.models.unet import UNet
from jaxseg.optim import Adam
from jaxseg.sharding import data_parallel

SIZE = (8, 12)


def batches(count: int):
    """Batches of 8, of which one sample is padding: not every device has as much to count."""
    for seed in range(count):
        padding = random_batch(seed + 1000, 1, SIZE)._replace(weight=np.zeros(1, np.float32))
        yield join(random_batch(seed, 7, SIZE), padding)


def compiled(norm: str, devices: int) -> Compiled:
    model = UNet((4, 8), out_channels=1, norm=norm)
    # Where a gradient is 0 but for rounding, Adam's usual eps would make a step of the rounding.
    config = Config(data=Data(height=SIZE[0], width=SIZE[1]), model=model, optimizer=Adam(2e-3, eps=1e-4))
    return compile_steps(config, data_parallel(devices))


def trajectory(steps: Compiled, count: int):
    """The results of so many steps, and the state after them."""
    state, results = steps.create(jax.random.key(0)), []
    for batch in batches(count):
        state, result = steps.train(state, jax.device_put(batch, steps.layout.batch))
        results.append(jax.device_get(result))
    return results, state


@pytest.mark.parametrize(
    ("batch_size", "used"), [(1, 1), (2, 2), (3, 3), (6, 6), (7, 7), (8, 8), (10, 5), (11, 1), (12, 6), (64, 8)]
)
def test_as_many_devices_as_divide_the_batch_are_used(batch_size, used):
    layout = data_parallel(batch_size)
    assert layout.mesh.devices.size == used
    assert jax.device_put(np.zeros((batch_size, 3)), layout.batch).sharding.shard_shape((batch_size, 3)) == (
        batch_size // used,
        3,
    )


def test_the_batch_is_split_and_the_state_is_on_every_device():
    steps = compiled("batch", devices=8)
    state = steps.create(jax.random.key(0))
    batch = jax.device_put(next(batches(1)), steps.layout.batch)
    assert {shard.data.shape for shard in batch.image.addressable_shards} == {(1, *SIZE, 3)}
    state, result = steps.train(state, batch)
    _, predicted = steps.evaluate(state, batch)
    for leaf in jax.tree.leaves((state, result)):
        assert len(leaf.sharding.device_set) == 8
        assert leaf.sharding.is_fully_replicated
    assert {shard.data.shape for shard in predicted.addressable_shards} == {(1, *SIZE)}


def root_mean_square(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_eight_devices_give_the_trajectory_of_one(norm):
    one, eight = compiled(norm, devices=1), compiled(norm, devices=8)
    (expected, expected_state), (found, state) = trajectory(one, 20), trajectory(eight, 20)
    assert expected[-1].loss < 0.99 * expected[0].loss
    for step, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        # Later on, rounding may put a rectifier on the other side of zero.
        assert float(ours.loss) == pytest.approx(float(theirs.loss), rel=2e-6 if step < 3 else 1e-4)
        assert ours.pixels == theirs.pixels
        assert np.abs(ours.confusion - theirs.confusion).sum() <= 2  # a pixel on the threshold
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(expected_state), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        # As a whole: a single weight beside such a rectifier may go its own way.
        assert root_mean_square(a - b) <= 1e-2 * root_mean_square(b) + 1e-4
    last = next(batches(1))
    (seen, _), (expected_seen, _) = eight.evaluate(state, last), one.evaluate(expected_state, last)
    assert float(seen.loss) == pytest.approx(float(expected_seen.loss), rel=1e-4)


def test_a_step_takes_the_memory_of_the_state_it_is_given():
    steps = compiled("none", devices=8)
    state = steps.create(jax.random.key(0))
    new, _ = steps.train(state, jax.device_put(next(batches(1)), steps.layout.batch))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(new))
