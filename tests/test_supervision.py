"""Deep supervision is the weighted mean over the levels, trains each of them, and is in no exported model."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import random_batch
from test_train import small
from torch_unet import needs_torch, torch

from jaxseg.augment import NOTHING
from jaxseg.errors import InputError
from jaxseg.losses import CrossEntropy, valid_pixels
from jaxseg.models.unet import UNet
from jaxseg.pth import read_pth
from jaxseg.recognise import expected_shapes
from jaxseg.run import RunFolder
from jaxseg.step import TrainState, differentiate, prepared
from jaxseg.supervision import shrunk, supervised
from jaxseg.torch_weights import flat, to_state_dict
from jaxseg.train import fit
from jaxseg.weights import read_weights

WIDTHS = (4, 4, 8, 8)
MODEL = UNet(WIDTHS, out_channels=1, deep_supervision=True)


@needs_torch
@pytest.mark.parametrize(("size", "to"), [((16, 24), (8, 12)), ((16, 24), (4, 6)), ((13, 7), (6, 3)), ((9, 5), (2, 1))])
def test_masks_are_shrunk_to_the_nearest_pixel_as_by_pytorch(size: tuple[int, int], to: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (2, *size)).astype(np.uint8)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(mask)[:, None].float(), size=to, mode="nearest-exact")
    np.testing.assert_array_equal(shrunk(jnp.asarray(mask), *to), theirs[:, 0].numpy())


def test_each_level_has_half_the_weight_of_the_one_above() -> None:
    rng, batch = np.random.default_rng(1), jax.tree.map(jnp.asarray, random_batch(2, size=(16, 24)))
    mask, valid = jnp.asarray(batch.mask), valid_pixels(batch)
    logits = [jnp.asarray(rng.normal(size=(2, 16 >> i, 24 >> i, 1)), jnp.float32) for i in range(3)]
    expected = 0.0
    for level, (out, weight) in enumerate(zip(logits, (4 / 7, 2 / 7, 1 / 7), strict=True)):
        step, middle = 2**level, 2**level // 2
        truth, counted = (np.asarray(a)[:, middle::step, middle::step] for a in (mask, valid))
        z = np.asarray(out, np.float64)[..., 0]
        expected += weight * (np.logaddexp(0, z) - truth * z)[counted].mean()
    assert float(supervised(CrossEntropy(), logits, mask, valid)) == pytest.approx(expected, rel=1e-6)
    alone = CrossEntropy()(logits[0], mask, valid)
    assert float(supervised(CrossEntropy(), logits[:1], mask, valid)) == float(alone)


def test_a_step_trains_every_head_and_the_logits_are_the_plain_networks() -> None:
    batch = prepared(jax.tree.map(jnp.asarray, random_batch(3, size=(16, 24))), jnp.int32(0), NOTHING, 0)
    variables = jax.jit(MODEL.init)(jax.random.key(0), batch.image)
    plain = jax.jit(MODEL.inference.init)(jax.random.key(0), batch.image)
    assert set(variables) == {"params"}
    heads = set(flat(variables["params"])) - set(flat(plain["params"]))
    assert heads == {"head2/kernel", "head2/bias"}
    for path, value in flat(plain["params"]).items():
        np.testing.assert_array_equal(flat(variables["params"])[path], value, path)
    state = TrainState(jnp.int32(0), variables["params"], {}, (), None)  # pyright: ignore[reportArgumentType]
    valid = valid_pixels(batch)
    step = jax.jit(partial(differentiate, model=MODEL, loss=CrossEntropy()))
    (value, (logits, given)), gradients = step(state, batch, valid)
    (coarse,) = given["supervised"]["logits"]
    assert coarse.shape == (2, 8, 12, 1)
    assert float(value) == pytest.approx(
        float(supervised(CrossEntropy(), (logits, coarse), batch.mask, valid)), rel=1e-6
    )
    assert all(np.any(leaf) for leaf in flat(gradients).values())
    seen = jax.jit(MODEL.inference.apply)(plain, batch.image)
    np.testing.assert_allclose(logits, seen, rtol=1e-5, atol=1e-5)


def test_too_few_levels_are_told() -> None:
    with pytest.raises(InputError, match="give at least 4"):
        UNet((4, 8, 8), deep_supervision=True).check()


@pytest.fixture(scope="module")
def run(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fit(config_of(sample), tmp_path_factory.mktemp("supervised") / "run")


def config_of(sample: Path):
    return small(sample, epochs=1, model=UNet(WIDTHS, norm="batch", deep_supervision=True, prior="auto"))


def test_what_is_exported_has_no_heads(run: RunFolder) -> None:
    weights = read_weights(run.path)
    assert "left out: the heads of deep supervision" in "\n".join(weights.notes)
    assert not any("head" in name for name in weights.state_dict)
    assert not weights.model.deep_supervision
    own = {path: leaf.shape for path, leaf in weights.leaves.items() if not path.endswith("/batches")}
    assert own == expected_shapes(UNet(WIDTHS, out_channels=1, norm="batch"), 3)
    found = read_pth(run.best_weights).tensors
    assert list(found) == list(to_state_dict(**weights.variables))
    again = read_weights(run.best_weights)  # by the description beside it
    np.testing.assert_array_equal(again.leaves["dec2/0/kernel"], weights.leaves["dec2/0/kernel"])


def test_it_is_the_same_run_again(run: RunFolder, sample: Path, capsys: pytest.CaptureFixture) -> None:
    fit(config_of(sample), run.path)
    assert "This run is finished" in capsys.readouterr().out
