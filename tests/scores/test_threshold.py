"""A finished run has the threshold of its best weights, even if it was killed while it finished."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from painted import CATEGORIES, model_of, paint, painted_data, reads_binary, reads_classes
from trained import HEIGHT, WIDTH

import jaxseg
from jaxseg import outcome
from jaxseg.data.samples import open_split
from jaxseg.run import RunFolder, write_json
from jaxseg.scores.threshold import USUAL, choose_threshold
from jaxseg.train import fit


def config(root: Path, **changes: object) -> jaxseg.Config:
    data = jaxseg.Data(root=root, classes=("laptop", "tv", "cell phone"), height=HEIGHT, width=WIDTH)
    model = jaxseg.UNet(widths=(4, 8), norm="batch")
    whole = jaxseg.Config(data, model, optimizer=jaxseg.Adam(1e-2), epochs=12, batch_size=4)
    return dataclasses.replace(whole, **changes)


@pytest.fixture(scope="module")
def done(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fit(config(sample), tmp_path_factory.mktemp("runs") / "done")


def threshold_of(folder: RunFolder) -> float:
    return json.loads(folder.model.read_text())["threshold"]


def test_it_is_the_best_of_an_evaluation_at_the_networks_size(done: RunFolder) -> None:
    found = jaxseg.evaluate.score_model(done.path, at="network", batch_size=4)
    assert found.best is not None
    assert threshold_of(done) == found.threshold == found.best.threshold != USUAL
    assert float(found.foreground.iou) == found.best.iou


def test_a_run_killed_before_it_chose_gets_it_when_started_again(
    done: RunFolder, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jaxseg.train, "choose_threshold", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(config(sample), tmp_path)
    folder = RunFolder(tmp_path)
    assert threshold_of(folder) == USUAL
    assert not folder.final_weights.exists()
    fit(config(sample), tmp_path)
    assert json.loads(folder.model.read_text()) == json.loads(done.model.read_text())


def test_a_run_killed_before_its_last_file_gets_it_when_started_again(
    done: RunFolder, sample: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of an earlier, shorter training don't pass for those of this one."""
    kept = json.loads(done.model.read_text())
    real = outcome.write_json

    def cut(path: Path, content: dict) -> None:
        if "epochs" in content:
            raise KeyboardInterrupt
        real(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(outcome, "write_json", cut)
        write_json(done.model, {**kept, "epochs": 1})
        with pytest.raises(KeyboardInterrupt):
            fit(config(sample), done.path)
    assert threshold_of(done) == USUAL
    assert done.final_weights.exists()
    fit(config(sample), done.path)
    assert json.loads(done.model.read_text()) == kept


def test_a_finished_run_of_an_older_version_gets_it_when_started_again(
    done: RunFolder, sample: Path, capsys: pytest.CaptureFixture
) -> None:
    kept = json.loads(done.model.read_text())
    write_json(done.model, {key: 0.5 if key == "threshold" else v for key, v in kept.items() if key != "epochs"})
    fit(config(sample), done.path)
    assert json.loads(done.model.read_text()) == kept
    assert "the best on the validation split" in capsys.readouterr().out
    fit(config(sample), done.path)
    assert "This run is finished: 12 epochs" in capsys.readouterr().out


def test_exports_carry_it(done: RunFolder, tmp_path: Path) -> None:
    jaxseg.convert.convert(done.path, tmp_path / "converted")
    assert jaxseg.load(tmp_path / "converted").threshold == threshold_of(done)


def test_probabilities_that_tell_nothing_keep_one_half_with_a_warning(tmp_path: Path) -> None:
    val = open_split(painted_data(paint(tmp_path / "coco")), "val")
    for value in (0.0, 0.3, 1.0):
        model = model_of(lambda _, images, v=value: reads_binary(_, images) * 0 + np.float32(v), "binary")
        choice = choose_threshold(model, val, 2, lambda faults: None, keep=3)
        assert choice.threshold == USUAL
        assert choice.why.startswith("warning: the threshold stays 0.5")
        assert len(choice.shown) == 3


def test_void_has_no_part_in_the_choice(tmp_path: Path) -> None:
    """The model calls the left columns foreground, where the truth is void."""
    root = paint(tmp_path / "coco", crowd=True)
    data = painted_data(root, (64, 64), crowds="void")

    def forward(_: object, images: jax.Array) -> jax.Array:
        left = (jnp.arange(64) < 32)[None, None, :, None]
        return jnp.where(left, np.float32(0.7), reads_binary(_, images) * np.float32(0.6))

    model = model_of(forward, "binary", resize="stretch")
    choice = choose_threshold(model, open_split(data, "val"), 3, lambda faults: None, keep=1)
    found = jaxseg.evaluate.score_model(model, data, at="network")
    assert found.best is not None
    assert choice.threshold == found.best.threshold
    assert f"IoU {found.best.iou:.3f} there" in choice.why


def test_several_classes_have_none_and_the_first_images_are_shown(tmp_path: Path) -> None:
    val = open_split(painted_data(paint(tmp_path / "coco"), mode="multiclass"), "val")
    choice = choose_threshold(model_of(reads_classes, "multiclass"), val, 2, lambda faults: None, keep=3)
    assert (choice.threshold, choice.why) == (USUAL, "")
    assert len(choice.shown) == 3
    assert {1, 2} <= set(np.unique(np.concatenate([shown.prediction.ravel() for shown in choice.shown])))
    assert val.table.drawn == CATEGORIES
