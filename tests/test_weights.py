"""A run's weights come back as they were trained, or the reader is told why not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trained import random_images, random_model

import jaxseg
from jaxseg.checkpoint import Checkpoints, Progress
from jaxseg.guard import healthy
from jaxseg.pth import read_pth
from jaxseg.run import RunFolder, write_json
from jaxseg.shelf import Shelf
from jaxseg.step import TrainState
from jaxseg.torch_weights import to_state_dict
from jaxseg.weights import read_weights


@pytest.fixture(scope="module")
def run(tiny: RunFolder) -> RunFolder:
    return tiny


@pytest.fixture
def copy(run: RunFolder, tmp_path: Path) -> RunFolder:
    """A run to break."""
    shutil.copytree(run.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def change(folder: RunFolder, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(folder.model.read_text())
    edit(content)
    folder.model.write_text(json.dumps(content))


@pytest.mark.parametrize(("checkpoint", "weights"), [("best", "best_weights"), ("latest", "final_weights")])
def test_it_is_what_the_run_left_for_pytorch(run: RunFolder, checkpoint: str, weights: str) -> None:
    model = read_weights(run.path, checkpoint=checkpoint)
    expected = read_pth(getattr(run, weights)).tensors
    found = to_state_dict(**model.variables)
    for name, value in expected.items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(found[name], value, name)
    assert model.description["classes"] == ["background", "laptop + tv + cell phone"]
    assert model.model == jaxseg.UNet((4, 8), out_channels=1, norm="batch")


def test_it_computes(run: RunFolder) -> None:
    model = read_weights(run.path)
    logits = model.model.apply(model.variables, jnp.asarray(random_images(2, 6, 10) / np.float32(255)))
    assert logits.shape == (2, 6, 10, 1)
    assert np.isfinite(logits).all()


def test_a_step_is_chosen_by_number_and_an_unknown_one_is_told(run: RunFolder) -> None:
    step = Shelf(run.checkpoints).steps()[-1]
    latest, chosen = (read_weights(run.path, checkpoint=which) for which in ("latest", step))
    np.testing.assert_array_equal(chosen.leaves["enc1/0/kernel"], latest.leaves["enc1/0/kernel"])
    with pytest.raises(jaxseg.InputError, match=rf"no checkpoint of step 77; it has .*{step}"):
        read_weights(run.path, checkpoint=77)


def test_the_best_need_not_be_the_latest_and_needs_no_statistics(tmp_path: Path) -> None:
    model = random_model(channels=1, out_channels=3)
    folder = RunFolder(tmp_path)
    write_json(folder.model, model.description)
    params = model.variables["params"]
    with Checkpoints(folder.checkpoints) as checkpoints:
        for step in (3, 6, 9):
            weights = jax.tree.map(lambda leaf, step=step: leaf + step, params)
            state = TrainState(jnp.asarray(step, jnp.int32), weights, {}, {"moment": weights}, healthy())
            checkpoints.save(
                step, state, Progress(step // 3, best_step=3, best_loss=0.1, epochs_since_best=0, running={})
            )
        checkpoints.wait()
    for checkpoint, step in (("best", 3), ("latest", 9), (3, 3)):
        found = read_weights(tmp_path, checkpoint=checkpoint)
        assert found.variables["batch_stats"] == {}
        assert found.model == model.model
        jax.tree.map(
            lambda a, b, step=step: np.testing.assert_array_equal(a, b + step), found.variables["params"], params
        )


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path, r"is neither a run's folder .* no model\.json"),
        (tmp_path / "missing", "no such"),
    ):
        with pytest.raises(jaxseg.InputError, match=message):
            read_weights(path)
        assert not (tmp_path / "missing").exists()


def test_a_run_without_a_checkpoint_is_told(copy: RunFolder) -> None:
    shutil.rmtree(copy.checkpoints)
    with pytest.raises(jaxseg.InputError, match="no checkpoint yet"):
        read_weights(copy.path)
    copy.checkpoints.mkdir()
    with pytest.raises(jaxseg.InputError, match="holds no checkpoint"):
        read_weights(copy.path)


MISTAKES = {
    "another width": (lambda c: c["model"].update(widths=[4, 9]), r"misshapen: params/bottleneck/0/bias is \(8,\)"),
    "deeper": (lambda c: c["model"].update(widths=[4, 8, 16]), r"missing: batch_stats/enc2/1/mean \(8,\)"),
    "no norm": (lambda c: c["model"].update(norm="none"), "extra: params/bottleneck/4/bias"),
    "other channels": (lambda c: c.update(channels=1), r"enc1/0/kernel is \(3, 3, 3, 4\), expected \(3, 3, 1, 4\)"),
    "more classes": (lambda c: c.update(classes=["a", "b", "c"]), "1 outputs, but 3 classes in binary mode"),
    "multiclass": (lambda c: c.update(mode="multiclass"), "need 2"),
    "no threshold": (lambda c: c.pop("threshold"), "does not say threshold"),
    "another class": (lambda c: c["model"].update({"class": "os.system"}), "Expected one of the classes"),
    "no classes": (lambda c: c.update(classes="laptop"), "classes should be names, the background first; found 'lap"),
    "a threshold of 1": (lambda c: c.update(threshold=1.0), r"threshold should be between 0 and 1; found 1\.0"),
    "another rule": (lambda c: c.update(resize="crop"), "resize should be stretch or letterbox; found 'crop'"),
    "another mode": (lambda c: c.update(mode="both"), "mode should be binary or multiclass"),
    "no scale": (lambda c: c.update(scale=None), "scale should be a number above 0"),
    "no height": (lambda c: c.update(height=0), r"height and width should be .* found \[0, 48\]"),
    "a config": (lambda c: c.update(model={"class": "Adam"}), "not a UNet"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_description_that_disagrees_is_refused(name: str, copy: RunFolder) -> None:
    edit, message = MISTAKES[name]
    change(copy, edit)
    with pytest.raises(jaxseg.InputError, match=message):
        read_weights(copy.path)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[]", "does not say model"), ("3", "does not say")]
)
def test_a_broken_description_is_told(text: str, message: str, copy: RunFolder) -> None:
    copy.model.write_text(text)
    with pytest.raises(jaxseg.InputError, match=message):
        read_weights(copy.path)
