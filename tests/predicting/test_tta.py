"""Averaging over flips and sizes: a flip of the input is a flip of the output."""

import jax
import numpy as np
import pytest
from trained import random_images, random_model

import jaxseg
from jaxseg.predicting.tta import NO_TTA, Tta, averaged
from jaxseg.predictor import network_probabilities


def forward(**settings: object) -> tuple:
    model = random_model(widths=(4, 6), **settings)

    def run(variables, images):
        return network_probabilities(variables, images, model=model.model, scale=1 / 255)

    return model, run


@pytest.mark.parametrize(("flips", "axes"), [("mirror", [2]), ("all", [2, 1, (1, 2)])])
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0)])
def test_a_flip_of_the_input_is_a_flip_of_the_output(flips: str, axes: list, scales: tuple[float, ...]) -> None:
    model, run = forward(out_channels=3)
    images = random_images(2, 16, 24)
    mean = jax.jit(averaged(run, Tta(flips, scales), model.model.stride))
    expected = np.asarray(mean(model.variables, images))
    plain = np.asarray(jax.jit(run)(model.variables, images))
    for axis in axes:
        found = np.asarray(mean(model.variables, np.flip(images, axis)))
        np.testing.assert_allclose(np.flip(found, axis), expected, atol=1e-6)
        without = np.asarray(jax.jit(run)(model.variables, np.flip(images, axis)))
        assert np.abs(np.flip(without, axis) - plain).max() > 0.01, "the network is symmetric: this shows nothing"


def test_it_is_the_mean_that_a_loop_gives() -> None:
    model, run = forward(out_channels=3)
    images = random_images(2, 16, 24)
    found, compiled = [], jax.jit(run)
    for scale in (0.5, 1.0):
        size = (int(16 * scale), int(24 * scale))
        seen = np.asarray(jax.image.resize(images.astype(np.float32), (2, *size, 3), "linear")).round().astype(np.uint8)
        for axes in ((), (1,), (2,), (1, 2)):
            one = np.flip(compiled(model.variables, np.flip(seen, axes)), axes)
            found.append(jax.image.resize(one, (2, 16, 24, 3), "linear"))
    expected = np.mean(found, axis=0)
    result = jax.jit(averaged(run, Tta("all", (0.5, 1.0)), model.model.stride))(model.variables, images)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    np.testing.assert_allclose(result.sum(axis=-1), 1, atol=1e-5)


def test_each_of_three_sizes_counts() -> None:
    def bright(_, images):
        return images[..., :1].astype(np.float32) * 0 + images.shape[1]

    found = averaged(bright, Tta(scales=(0.5, 1.0, 2.0)), 4)(None, jax.numpy.asarray(random_images(1, 16, 24)))
    np.testing.assert_allclose(found, (8 + 16 + 32) / 3, rtol=1e-6)


def test_sizes_are_rounded_to_what_the_network_takes() -> None:
    model, run = forward()
    seen = []

    def watched(variables, images):
        seen.append(images.shape[1:3])
        return run(variables, images)

    jax.eval_shape(averaged(watched, Tta(scales=(0.1, 0.6, 1.3)), 4), model.variables, random_images(1, 16, 24))
    assert seen == [(4, 4), (8, 16), (20, 32)]


def test_none_is_the_network_itself() -> None:
    _, run = forward()
    assert averaged(run, NO_TTA, 4) is run


@pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -1.0), (float("nan"),)])
def test_scales_that_can_not_be_are_told(scales: tuple[float, ...]) -> None:
    _, run = forward()
    with pytest.raises(jaxseg.InputError, match="give at least one, each above 0"):
        averaged(run, Tta(scales=scales), 4)
