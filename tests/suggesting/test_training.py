"""Settings of the training, by pixels, classes, steps and memory."""

from dataclasses import replace

import numpy as np
import pytest

import jaxseg
from jaxseg.errors import InputError
from jaxseg.footprint import Room
from jaxseg.suggesting import recipe, training

CONFIG = jaxseg.Config(data=jaxseg.Data(height=32, width=32), model=jaxseg.UNet(out_channels=1), batch_size=8)


def test_the_foreground_weighs_more_where_it_is_rare() -> None:
    assert training.loss(np.array([900, 100])).value == jaxseg.Sum(recipe.TERMS)
    rare = training.loss(np.array([9900, 60, 40]))
    assert rare.value.terms[0].pos_weight == pytest.approx(np.sqrt(99), abs=0.05)
    assert rare.value.terms[1:] == recipe.TERMS[1:]
    assert "1.00% of the pixels" in rare.reason
    assert training.loss(np.array([100, 0])).value == jaxseg.Sum(recipe.TERMS), "nothing is known of it"
    assert training.loss(np.zeros(2, np.int64)).value == jaxseg.Sum(recipe.TERMS)


def test_flips_and_colours_only_where_they_leave_things_right() -> None:
    assert training.augment(["cat"], 3).value == recipe.AUGMENT
    for name in ("left_lung", "Right arm", "ventricle-left"):
        sided = training.augment(["heart", name], 3)
        assert sided.value == replace(recipe.AUGMENT, flip=0.0), name
        assert name in sided.reason
    assert training.augment(["bright", "cleft", "leftovers"], 3).value.flip == recipe.AUGMENT.flip
    assert training.augment(["cell"], 1).value.saturation == 0


@pytest.mark.parametrize("images", [2, 3, 50, 200, 1000, 5000, 50_000])
def test_the_steps_are_sensible_for_any_number_of_images(images: int) -> None:
    size = training.batch(images).value
    assert size == min(8, 2 if images < 4 else 8)
    steps = images // size
    number = training.epochs(steps).value
    assert recipe.EPOCHS[0] <= number <= recipe.EPOCHS[1]
    if number not in recipe.EPOCHS:
        assert number * steps == pytest.approx(recipe.STEPS, rel=0.1)
    if images >= 50:
        assert number * steps >= recipe.STEPS / 2


def needs(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """A step takes 100 bytes for an image and a channel of the first level; the device has so many."""
    by_width = lambda config, _: 100 * config.batch_size * config.model.widths[0]  # noqa: E731
    monkeypatch.setattr(training, "needed", by_width)
    monkeypatch.setattr(training, "room_of", lambda _: Room(round(room / 0.95) + 1, "the test has", "gpu"))


def network(monkeypatch: pytest.MonkeyPatch, room: int) -> tuple[tuple[int, ...], int]:
    needs(monkeypatch, room)
    found = {choice.setting: choice.value for choice in training.network(CONFIG, 2, "gpu")}
    assert found["model"].out_channels is None
    assert found["model"].norm == recipe.NORM
    return found["model"].widths, found.get("batch_size", 8)


def test_the_widest_network_that_fits_and_then_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert network(monkeypatch, 10**6) == ((32, 64, 128), 8)
    assert network(monkeypatch, 100 * 8 * 32) == ((32, 64, 128), 8)
    assert network(monkeypatch, 100 * 8 * 31) == ((16, 32, 64), 8)
    assert network(monkeypatch, 100 * 8 * 8) == ((8, 16, 32), 8)
    assert network(monkeypatch, 100 * 5 * 8) == ((16, 32, 64), 2) or network(monkeypatch, 100 * 5 * 8) == (
        (8, 16, 32),
        4,
    )
    needs(monkeypatch, 10)
    with pytest.raises(InputError, match="No network of this kind fits"):
        list(training.network(CONFIG, 2, "gpu"))


def test_a_laptop_trains_a_narrower_network(monkeypatch: pytest.MonkeyPatch) -> None:
    needs(monkeypatch, 10**9)
    assert next(training.network(CONFIG, 4, "cpu")).value.widths == (16, 32, 64, 128, 256)
