"""Dropout sets whole channels to 0, by key and place in the batch alone, in training alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import random_batch
from networks import pixels, random_variables, scaled

from jaxseg.augment import NOTHING
from jaxseg.errors import InputError
from jaxseg.losses import CrossEntropy, valid_pixels
from jaxseg.models.dropout import drop_channels
from jaxseg.models.unet import UNet
from jaxseg.sharding import data_parallel
from jaxseg.step import TrainState, differentiate, prepared

MODEL = UNet((4, 6, 8), out_channels=1, dropout=0.5)
KEY = jax.random.key(3)


def test_channels_are_dropped_whole_and_their_mean_stays() -> None:
    x = jnp.asarray(np.random.default_rng(0).uniform(1, 2, (8, 3, 4, 500)), jnp.float32)
    found = np.asarray(drop_channels(KEY, x, 0.3))
    gone = (found == 0).all(axis=(1, 2))
    np.testing.assert_allclose(0.7 * found, np.where(gone[:, None, None], 0, x), rtol=1e-5)
    assert abs(gone.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / gone.size)
    assert len({row.tobytes() for row in gone}) == 8, "each image loses others"


def test_what_an_image_loses_depends_on_its_place_alone() -> None:
    x = jnp.ones((8, 2, 2, 20))
    whole = drop_channels(KEY, x, 0.5)
    np.testing.assert_array_equal(drop_channels(KEY, x[:3], 0.5), whole[:3])
    layout = data_parallel(8)
    assert layout.mesh.devices.size == 8
    laid = jax.jit(partial(drop_channels, rate=0.5), in_shardings=(None, layout.batch), out_shardings=layout.batch)
    np.testing.assert_array_equal(laid(KEY, x), whole)


def test_the_bottleneck_and_the_blocks_above_but_the_top_drop_channels_in_training_alone() -> None:
    variables, image = random_variables(MODEL), scaled(pixels(0, batch=1))
    names = ("enc1", "bottleneck", "upconv2", "dec2", "dec1")

    def outputs(model: UNet, train: bool) -> dict[str, jax.Array]:
        settings = {"train": train, "rngs": {"dropout": KEY}, "mutable": ["intermediates"]}
        kept = model.apply(variables, image, capture_intermediates=True, **settings)[1]["intermediates"]
        return {name: kept[name]["__call__"][0] for name in names}

    look = jax.jit(outputs, static_argnums=(0, 1))
    drawn, used, plain = look(MODEL, True), look(MODEL, False), look(UNet((4, 6, 8), out_channels=1), True)
    assert all(np.array_equal(used[name], plain[name]) for name in names)
    same = [name for name in names if np.array_equal(drawn[name], plain[name])]
    assert same == ["enc1", "bottleneck"], "what comes after the bottleneck is another"


def test_it_is_after_the_bottleneck_and_after_each_block_but_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, float]] = []
    monkeypatch.setattr("jaxseg.models.unet.drop_channels", lambda _, x, rate: seen.append((x.shape[-1], rate)) or x)
    for train in (True, False):
        model = UNet((4, 6, 8, 10), out_channels=1, dropout=0.3)
        image, settings = jnp.zeros((1, 8, 8, 3)), {"train": train, "rngs": {"dropout": KEY}}
        jax.eval_shape(lambda v, i, m=model, s=settings: m.apply(v, i, **s), random_variables(model), image)
    assert seen == [(10, 0.3), (8, 0.3), (6, 0.3)]


def test_a_step_draws_by_its_number_and_the_seed() -> None:
    batch = prepared(jax.tree.map(jnp.asarray, random_batch(0)), jnp.int32(0), NOTHING, 0)
    valid, variables = valid_pixels(batch), random_variables(MODEL)
    step = jax.jit(partial(differentiate, model=MODEL, loss=CrossEntropy()), static_argnames="seed")

    def loss(number: int, seed: int) -> float:
        state = TrainState(jnp.int32(number), variables["params"], {}, (), None)  # pyright: ignore[reportArgumentType]
        return float(step(state, batch, valid, seed=seed)[0][0])

    found = [loss(0, 0), loss(1, 0), loss(0, 1)]
    assert len(set(found)) == 3
    assert loss(1, 0) == found[1]


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_is_no_share_is_told(rate: float) -> None:
    with pytest.raises(InputError, match=r"model\.dropout is"):
        UNet((4, 8), dropout=rate).check()
