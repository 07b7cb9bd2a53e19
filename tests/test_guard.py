"""A step that is not sound changes nothing; and after it nothing changes, or the run goes on as if it had not been."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import join, random_batch

from jaxseg.arrays import Batch
from jaxseg.errors import InputError
from jaxseg.guard import STOP, WINDOW, Guard, Health, Verdict, examine, healthy
from jaxseg.losses import CrossEntropy
from jaxseg.models.unet import UNet
from jaxseg.optim import Adam
from jaxseg.sharding import data_parallel
from jaxseg.step import TrainState, create_state, train_step

MARKS = {"loss": 77, "gradient": 78, "square": 79}
"""In the mask of a batch on which the loss of these tests breaks, and what of it."""
NORMED = UNet((4, 8), out_channels=1, norm="batch")
OPTIMIZER = Adam(1e-2).build()
EMA = 0.9
SKIP = Guard("skip", spike=50.0)


class Fragile(CrossEntropy):
    """Not finite in itself, in its gradient alone, or in the square of its gradient, where the mask has a mark."""

    def __call__(self, logits, mask, valid):
        value = super().__call__(logits, mask, valid)
        marked = {what: (mask == mark).any() for what, mark in MARKS.items()}
        still = jnp.abs(logits - jax.lax.stop_gradient(logits))  # 0, where the root has no slope
        value = value + jnp.sqrt(jnp.where(marked["gradient"], still, 1)).mean()
        return value * jnp.where(marked["square"], 1e25, 1) / jnp.where(marked["loss"], 0, 1)


def batch_of(seed: int, breaks: str | None = None) -> Batch:
    batch = random_batch(seed)
    if breaks:
        batch.mask[0, 0, 0] = MARKS[breaks]
    return batch


@cache
def new(model: UNet = NORMED) -> TrainState:
    create = partial(create_state, model=model, optimizer=OPTIMIZER, image_shape=(8, 12, 3), ema=EMA)
    return jax.jit(create)(jax.random.key(0))


@cache
def step(guard: Guard = STOP, model: UNet = NORMED):
    return jax.jit(partial(train_step, model=model, optimizer=OPTIMIZER, loss=Fragile(), guard=guard, ema=EMA))


def assert_same(found, expected) -> None:
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), jax.tree_util.keystr(path)


def with_flag(state: TrainState) -> TrainState:
    return state._replace(health=state.health._replace(stopped=jnp.asarray(True)))


@pytest.mark.parametrize("breaks", ["loss", "gradient", "square"])
def test_after_a_stop_nothing_changes_whatever_comes(breaks: str) -> None:
    run, before = step(), step()(new(), batch_of(0))[0]
    state, result = run(before, batch_of(1, breaks))
    assert int(result.verdict) == Verdict.NOT_FINITE
    assert np.isfinite(result.loss) == (breaks != "loss")
    assert np.isinf(result.norm) if breaks == "square" else np.isnan(result.norm)
    assert_same(state, with_flag(before))
    for seed in range(2, 4):
        state, _ = run(state, batch_of(seed))
        assert_same(state, with_flag(before))
    state, _ = run(state, batch_of(4)._replace(weight=np.zeros(2, np.float32)))
    assert_same(state, with_flag(before))
    lowered = state._replace(health=state.health._replace(stopped=jnp.asarray(False)))
    assert_same(run(lowered, batch_of(2)), run(before, batch_of(2)))


@pytest.mark.parametrize("breaks", ["loss", "gradient", "square"])
def test_skipping_equals_never_having_seen_the_batch(breaks: str) -> None:
    run, state, other = step(SKIP), new(), new()
    for seed in range(6):
        bad = seed in (2, 3)
        state, result = run(state, batch_of(seed, breaks if bad else None))
        assert int(result.verdict) == (Verdict.NOT_FINITE if bad else Verdict.SOUND)
        if not bad:
            other, expected = run(other, batch_of(seed))
            assert_same(result, expected)
    assert (int(state.step), int(other.step), int(state.health.skipped)) == (6, 4, 2)
    assert_same(state, other._replace(step=state.step, health=other.health._replace(skipped=state.health.skipped)))


def test_stopping_and_skipping_are_the_same_until_a_step_is_bad() -> None:
    one, other = new(), new()
    for seed in range(3):
        one, other = step(STOP)(one, batch_of(seed))[0], step(SKIP)(other, batch_of(seed))[0]
    assert_same(one, other)


def leaves(state: TrainState) -> list[str]:
    paths = jax.tree_util.tree_leaves_with_path(state.params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_weight_that_is_not_finite_is_noticed_wherever_it_is(value: float) -> None:
    for place, name in enumerate(leaves(new())):
        params, structure = jax.tree.flatten(new().params)
        params[place] = params[place].at[(0,) * params[place].ndim].set(value)
        before = new()._replace(params=jax.tree.unflatten(structure, params))
        after, result = step()(before, batch_of(0))
        assert int(result.verdict) == Verdict.NOT_FINITE, name
        assert_same(after, with_flag(before))


def test_running_statistics_that_overflow_are_noticed_though_loss_and_gradient_are_finite() -> None:
    """A variance beyond float32 makes the normalised output 0: nothing else would show it before the evaluation."""
    params = jax.tree.map(lambda leaf: leaf, new().params)
    params["enc1"]["0"]["kernel"] = params["enc1"]["0"]["kernel"] * 1e19
    before = new()._replace(params=params)
    after, result = step()(before, batch_of(0))
    assert np.isfinite(result.loss)
    assert np.isfinite(result.norm)
    assert int(result.verdict) == Verdict.NOT_FINITE
    assert_same(after, with_flag(before))


@pytest.mark.parametrize(("dtype", "verdict"), [("float16", 1), ("bfloat16", 0)])
def test_what_overflows_in_float16_is_noticed_and_not_in_bfloat16(dtype: str, verdict: int) -> None:
    model = UNet((4, 8), out_channels=1, dtype=dtype)
    before = new(model)
    before = before._replace(params=jax.tree.map(lambda leaf: leaf * 60, before.params))
    after, result = step(STOP, model)(before, batch_of(0))
    assert int(result.verdict) == verdict
    assert bool(after.health.stopped) == bool(verdict)
    assert int(after.step) == 1 - verdict


@pytest.mark.parametrize("guard", [STOP, SKIP], ids=["stop", "skip"])
def test_a_batch_in_which_nothing_counts_is_sound(guard: Guard) -> None:
    """Though batch normalisation has no statistics of it, and its gradient is not finite."""
    before, _ = step(guard)(new(), batch_of(0))
    for batch in (random_batch(1, void=1.0), random_batch(1)._replace(weight=np.zeros(2, np.float32))):
        after, result = step(guard)(before, batch)
        assert int(result.verdict) == Verdict.SOUND
        assert_same(after, before._replace(step=before.step + 1))


def test_eight_devices_come_to_the_verdict_of_one() -> None:
    """Where one sample of eight, on one device, breaks the loss."""
    layout = data_parallel(8)
    assert layout.mesh.devices.size == 8
    plain = partial(train_step, model=NORMED, optimizer=OPTIMIZER, loss=Fragile(), guard=SKIP)
    laid = jax.jit(plain, in_shardings=(layout.state, layout.batch), out_shardings=layout.state)
    good, bad = (join(random_batch(5, 7), batch_of(6, breaks)) for breaks in (None, "gradient"))
    good, bad = (jax.tree.map(lambda array: array[:8], batch) for batch in (good, bad))
    for run in (laid, step(SKIP)):
        state = jax.device_put(new(), layout.state) if run is laid else new()
        verdicts = []
        for batch in (good, bad, good):
            state, result = run(state, batch)
            verdicts.append(int(result.verdict))
        assert verdicts == [Verdict.SOUND, Verdict.NOT_FINITE, Verdict.SOUND]
        assert (int(state.step), int(state.health.skipped)) == (3, 1)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


# Spikes.


def judged(guard: Guard, norms: list[float], step: int = 0, usual: float = 0.0) -> tuple[list[int], Health]:
    """The verdicts on gradients of these norms, one after another."""
    health, verdicts = healthy()._replace(usual_norm=jnp.float32(usual)), []
    look = jax.jit(partial(examine, guard, loss=jnp.float32(1), statistics={}))
    for place, norm in enumerate(norms):
        verdict, health = look(health, jnp.int32(step + place), norm=jnp.float32(norm))
        verdicts.append(int(verdict))
    return verdicts, health


def test_the_usual_norm_is_a_mean_and_later_follows_slowly() -> None:
    norms = list(np.random.default_rng(0).uniform(1, 2, WINDOW))
    verdicts, health = judged(STOP, norms)
    assert set(verdicts) == {Verdict.SOUND}
    assert float(health.usual_norm) == pytest.approx(np.mean(norms), rel=1e-5)
    _, later = judged(STOP, [0.0] * WINDOW, WINDOW, usual=1.0)
    assert float(later.usual_norm) == pytest.approx((1 - 1 / WINDOW) ** WINDOW, rel=1e-4)


@pytest.mark.parametrize(
    ("guard", "norms", "first", "expected"),
    [
        (Guard("skip"), [1e6], WINDOW, [0]),
        (Guard("skip", spike=20.0), [19.9, 30.0, 1.0], WINDOW, [0, 2, 0]),
        (Guard("skip", spike=20.0), [30.0], WINDOW - 1, [0]),
        (Guard("skip", spike=20.0), [float("nan"), float("inf"), 30.0], WINDOW, [1, 1, 2]),
        (Guard("skip", spike=20.0), [30.0, float("nan")], 2 * WINDOW, [2, 1]),
        (Guard("stop", spike=20.0), [1.0, 30.0], WINDOW, [0, 2]),
    ],
)
def test_a_spike_is_a_gradient_many_times_the_usual(
    guard: Guard, norms: list[float], first: int, expected: list[int]
) -> None:
    verdicts, health = judged(guard, norms, first, usual=1.0)
    assert verdicts == expected
    assert bool(health.stopped) == (guard.action == "stop")
    assert int(health.skipped) == (np.count_nonzero(expected) if guard.action == "skip" else 0)
    assert np.isfinite(health.usual_norm)


def test_gradients_that_stay_large_are_no_spikes_for_long() -> None:
    verdicts, _ = judged(Guard("skip", spike=5.0), [100.0] * 100, 10 * WINDOW, usual=1.0)
    assert verdicts[0] == Verdict.SPIKE
    assert verdicts[-1] == Verdict.SOUND
    assert 10 < np.count_nonzero(verdicts) < 90


def test_a_spike_in_a_step_is_left_out() -> None:
    before, first = step(SKIP)(new()._replace(step=jnp.int32(WINDOW)), batch_of(0))
    assert int(first.verdict) == Verdict.SOUND, "without a usual norm there is no spike"
    _, result = step(SKIP)(before, batch_of(1))
    assert int(result.verdict) == Verdict.SOUND
    small = before._replace(health=healthy()._replace(usual_norm=first.norm / 1000))
    after, result = step(SKIP)(small, batch_of(1))
    assert int(result.verdict) == Verdict.SPIKE
    assert_same(after.params, before.params)
    assert int(after.health.skipped) == 1


@pytest.mark.parametrize("spike", [1.0, 0.0, -3.0, float("nan")])
def test_a_factor_that_would_leave_out_everything_is_refused(spike: float) -> None:
    with pytest.raises(InputError, match="above 1, such as 20"):
        Guard("skip", spike).check()
