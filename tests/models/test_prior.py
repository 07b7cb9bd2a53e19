"""The output's first bias gives each class its share, and no other weight is another one."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import SMALL
from test_train import small
from torch_unet import flat

import jaxseg
from jaxseg.data.census import class_pixels
from jaxseg.errors import InputError
from jaxseg.models.prior import LEAST, shares_of
from jaxseg.models.unet import UNet
from jaxseg.plan import make_plan
from jaxseg.run import RunFolder


@pytest.mark.parametrize("shares", [(0.97, 0.03), (0.7, 0.2, 0.1)])
def test_the_bias_alone_gives_each_class_its_share(shares: tuple[float, ...]) -> None:
    outputs = len(shares) if len(shares) > 2 else 1
    model = UNet(SMALL, out_channels=outputs)
    image = jnp.zeros((1, 4, 4, 3))
    both = (model, model.clone(prior=shares))
    plain, given = (flat(jax.jit(m.init)(jax.random.key(0), image)["params"]) for m in both)
    bias = np.asarray(given.pop("final_conv/bias"), np.float64)
    assert plain.pop("final_conv/bias").shape == bias.shape
    logits = np.array([0, bias[0]]) if outputs == 1 else bias
    found = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(found, shares, rtol=1e-6)
    for path, value in plain.items():
        np.testing.assert_array_equal(given[path], value, path)


def test_shares_are_measured_and_a_class_that_is_nowhere_has_the_least() -> None:
    assert shares_of(np.array([750, 250])) == (0.75, 0.25)
    assert shares_of(np.array([1, 2, 0])) == (0.3333, 0.6667, LEAST)
    assert shares_of(np.array([0, 0])) == (LEAST, LEAST)


@pytest.mark.parametrize("prior", [(0.5,), (0.5, 0.3, 0.2), (1.0, 0.0), (0.9, -0.1), (float("nan"), 0.5), "auto"])
def test_what_is_no_share_of_each_class_is_told(prior) -> None:
    message = "waits for masks" if prior == "auto" else r"model\.prior is .*for each of 2 classes"
    with pytest.raises(InputError, match=message):
        jax.eval_shape(UNet((4, 8), out_channels=1, prior=prior).init, jax.random.key(0), jnp.zeros((1, 2, 2, 3)))


def test_auto_is_measured_on_the_training_masks_and_kept(sample: Path, tmp_path: Path) -> None:
    config = small(sample, model=UNet((4, 8), prior="auto"))
    plans = [make_plan(config, RunFolder(tmp_path), None) for _ in range(2)]
    pixels = class_pixels(jaxseg.open_split(config.data, "train"))
    assert plans[0].config.model.prior == plans[1].config.model.prior
    np.testing.assert_allclose(plans[0].config.model.prior, pixels / pixels.sum(), rtol=1e-3)
    with pytest.raises(InputError, match=r"model\.prior"):
        make_plan(small(sample, model=UNet((4, 8), prior=(0.5, 0.5))), RunFolder(tmp_path), None)
