"""Rematerialisation gives the same gradients, from the same parameters, with less kept."""

import jax
import numpy as np
from networks import pixels, random_variables, scaled, shapes
from torch_unet import flat

from jaxseg.models.unet import UNet

MODEL = UNet((4, 6), out_channels=1, norm="batch")


def test_it_changes_no_number() -> None:
    again = MODEL.clone(remat=True)
    assert jax.tree.structure(shapes(again)) == jax.tree.structure(shapes(MODEL))
    variables, image = random_variables(MODEL), scaled(pixels())

    def gradient(model: UNet):
        def loss(params):
            logits, kept = model.apply({**variables, "params": params}, image, train=True, mutable=["batch_stats"])
            return (logits**2).mean(), kept

        return jax.grad(loss, has_aux=True)

    assert "remat" in str(jax.make_jaxpr(gradient(again))(variables["params"]))
    expected, found = (jax.jit(gradient(model))(variables["params"]) for model in (MODEL, again))
    for ours, theirs in zip(found, expected, strict=True):
        for path, value in flat(theirs).items():
            np.testing.assert_allclose(flat(ours)[path], value, rtol=1e-4, atol=1e-6, err_msg=path)
