"""A run whose loss, optimiser and learning rate are not the defaults: from the config to the last byte."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_train import small

import jaxseg
from jaxseg.arrays import VOID
from jaxseg.config import from_json, parse, to_json
from jaxseg.data.census import class_pixels
from jaxseg.loop import compile_steps
from jaxseg.plan import make_plan
from jaxseg.run import RunFolder, read_lines
from jaxseg.sharding import data_parallel
from jaxseg.step import train_step
from jaxseg.train import TrainArguments, fit

RECIPE = {
    "augment": jaxseg.Augment(flip=0.5, zoom=(0.8, 1.5), rotate=10.0, brightness=0.2),
    "loss": jaxseg.Sum((jaxseg.CrossEntropy("auto"), jaxseg.Dice()), weights=(1.0, 0.5)),
    "optimizer": jaxseg.AdamW(2e-3),
    "schedule": jaxseg.OneCycle(),
    "clip_norm": 1.0,
    "accumulate": 2,
    "ema": 0.99,
}


def test_every_part_survives_json() -> None:
    for loss in (jaxseg.Tversky(power=1.5), jaxseg.Focal(alpha=0.3), jaxseg.Lovasz(), RECIPE["loss"]):
        for schedule in (jaxseg.Cosine(0.5), jaxseg.Polynomial(), jaxseg.OneCycle()):
            for optimizer in (jaxseg.SGD(), jaxseg.Lamb(), jaxseg.AdamW()):
                config = jaxseg.Config(loss=loss, optimizer=optimizer, schedule=schedule, clip_norm=0.5)
                assert from_json(json.loads(json.dumps(to_json(config)))) == config


def test_the_config_s_own_classes_give_the_flags(tmp_path: Path) -> None:
    file = tmp_path / "recipe.py"
    file.write_text("import jaxseg\nconfig = jaxseg.Config(loss=jaxseg.Sum(), optimizer=jaxseg.AdamW())\n")
    words = ["--loss.terms.0.pos-weight", "auto", "--loss.weights", "1", "0.5", "--optimizer.weight-decay", "0.1"]
    settings = parse(TrainArguments, "train", ["--config", str(file), *words, "--clip-norm", "2"]).settings
    assert settings.loss == RECIPE["loss"]
    assert settings.optimizer == jaxseg.AdamW(weight_decay=0.1)
    assert settings.clip_norm == 2


def test_class_pixels_are_those_of_the_masks(sample: Path) -> None:
    data = dataclasses.replace(small(sample).data, mode="multiclass")
    samples = jaxseg.open_split(data, "train")
    masks = np.stack([samples[place]["mask"] for place in range(len(samples))])
    assert class_pixels(samples).tolist() == [int((masks == label).sum()) for label in range(4)]


def test_a_step_trains_on_the_changed_batch_and_counts_no_void(sample: Path) -> None:
    """Of (seed, step): the step with the setting is the plain step on the batch changed beforehand."""
    config = small(sample, augment=RECIPE["augment"], seed=3)
    config = dataclasses.replace(config, model=config.model.clone(out_channels=1))
    compiled = compile_steps(config, data_parallel(1))
    samples = jaxseg.open_split(config.data, "train")
    with jaxseg.train_batches(samples, 4, seed=0) as batches:
        first = next(batches).batch
    state = compiled.create(jax.random.key(0))._replace(step=jnp.int32(7))
    key = jax.random.fold_in(jax.random.key(3), 7)
    _, mask = config.augment(key, jnp.asarray(first.image) / 255, jnp.asarray(first.mask))
    step = jax.jit(partial(train_step, model=config.model, optimizer=config.transformation(1), loss=config.loss))
    plain = step(state, first)[1]
    result = compiled.train(state, first)[1]
    assert int(result.pixels) == int((mask != VOID).sum()) < int(plain.pixels)
    assert int(result.confusion[1].sum()) == int((mask == 1).sum())
    assert float(result.loss) != float(plain.loss)


def test_the_recipe_goes_on_as_if_it_had_never_stopped(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(sample, **RECIPE)
    whole = fit(config, tmp_path / "whole")
    measured = json.loads(whole.config.read_text())["config"]["loss"]["terms"][0]["pos_weight"]
    pixels = class_pixels(jaxseg.open_split(config.data, "train"))
    assert measured == pytest.approx(pixels[0] / pixels[1], rel=1e-4)
    records = read_lines(whole.metrics)
    rates = config.learning_rates(records[-1]["step"] // config.epochs)
    logged = [record for record in records if "batch_loss" in record]
    assert [record["learning_rate"] for record in logged] == [float(rates[(r["step"] - 1) // 2]) for r in logged]
    assert min(record["batch_gradient_norm"] for record in logged) > 0

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("jaxseg.training.Training.validate", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(config, tmp_path / "cut")
    fit(config, tmp_path / "cut")
    for name in ("metrics.jsonl", "unet_model.pth", "unet_model_final.pth"):
        assert (tmp_path / "cut" / name).read_bytes() == (whole.path / name).read_bytes(), name
    with pytest.raises(jaxseg.InputError, match="epochs: now 9, there 2"):
        fit(dataclasses.replace(config, epochs=9), whole.path)
    with pytest.raises(jaxseg.InputError, match="loss"):
        fit(dataclasses.replace(config, loss=jaxseg.Dice()), whole.path)


def test_a_loss_that_differs_elsewhere_is_another_run(sample: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    make_plan(small(sample, loss=jaxseg.CrossEntropy("auto")), folder, None)
    make_plan(small(sample, loss=jaxseg.CrossEntropy("auto")), folder, None)
    with pytest.raises(jaxseg.InputError, match=r"loss\.label_smoothing"):
        make_plan(small(sample, loss=jaxseg.CrossEntropy("auto", label_smoothing=0.1)), folder, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accumulate": 0}, "accumulate is 0"),
        ({"clip_norm": -1.0}, "clip_norm is -1"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"ema": 0.0}, "ema is 0.0"),
    ],
)
def test_numbers_that_make_no_sense_are_told(sample: Path, tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(jaxseg.InputError, match=message):
        fit(small(sample, **change), tmp_path)
    assert not RunFolder(tmp_path).config.exists(), "the folder is not taken yet"
