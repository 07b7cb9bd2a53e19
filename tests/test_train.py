"""A whole training run on the small sample: what it leaves, how it goes on, what it says of mistakes."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import jaxseg
from jaxseg.checkpoint import Progress
from jaxseg.config import from_json
from jaxseg.data.images import decided
from jaxseg.data.samples import open_split
from jaxseg.metrics import Totals
from jaxseg.run import RunFolder, read_lines
from jaxseg.train import fit, main
from jaxseg.training import after_epoch, finished

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def small(root: Path | None, **changes: object) -> jaxseg.Config:
    data = jaxseg.Data(root=root, classes=("laptop", "tv", "cell phone"), height=32, width=48)
    config = jaxseg.Config(
        data=data,
        model=jaxseg.UNet(widths=(4, 8), norm="batch"),
        optimizer=jaxseg.Adam(1e-3),
        epochs=2,
        batch_size=4,
        logs=jaxseg.Logs(every=2, pictures_every=2, pictures=3),
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def done(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of two epochs."""
    return fit(small(sample), tmp_path_factory.mktemp("runs") / "done")


def test_everything_one_needs_afterwards_is_there(done: RunFolder) -> None:
    names = {path.name for path in done.path.iterdir()}
    assert {
        "config.json",
        "model.json",
        "model.txt",
        "metrics.jsonl",
        "timings.jsonl",
        "checkpoints",
        "loss_curves.png",
        "predictions.png",
        "architecture.png",
        "unet_model.pth",
        "unet_model_final.pth",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any(name.startswith(".") for name in names), "temporary files were left"
    for name in ("loss_curves.png", "predictions.png", "architecture.png"):
        with Image.open(done.path / name) as picture:
            picture.load()


def test_the_records_hold_each_epoch_and_no_clock(done: RunFolder) -> None:
    epochs = [record for record in read_lines(done.metrics) if "val_loss" in record]
    assert [record["epoch"] for record in epochs] == [1, 2]
    for record in epochs:
        assert {"train_loss", "val_iou", "val_dice", "val_predicted_share", "val_true_share"} <= set(record)
        assert 0 < record["val_true_share"] < 1
    assert not any("second" in key for record in epochs for key in record)
    assert [record["epoch_seconds"] > 0 for record in read_lines(done.timings)] == [True, True]


def test_tensorboard_reads_the_scalars_and_panels(done: RunFolder) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    events = loader.EventAccumulator(str(done.path)).Reload()
    assert len(events.Scalars("val_loss")) == 2
    assert len(events.Tags()["images"]) == 3


def test_the_model_file_says_what_travels_with_the_weights(done: RunFolder) -> None:
    model = json.loads(done.model.read_text())
    assert (model["height"], model["width"], model["channels"]) == (32, 48, 3)
    assert model["classes"] == ["background", "laptop + tv + cell phone"]
    assert model["scale"] == 1 / 255
    assert from_json(model["model"]) == jaxseg.UNet(widths=(4, 8), norm="batch", out_channels=1)


def test_the_layer_table_adds_up(done: RunFolder) -> None:
    lines = (done.path / "model.txt").read_text().splitlines()
    parameters = [int(line.split()[-2].replace(",", "")) for line in lines[2:-2]]
    assert int(lines[-1].split()[-2].replace(",", "")) == sum(parameters)


def test_a_finished_run_says_so(done: RunFolder, sample: Path, capsys: pytest.CaptureFixture) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.path.glob("*.pth")}
    fit(small(sample), done.path)
    assert "This run is finished: 2 epochs" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in done.path.glob("*.pth")}


def test_going_on_equals_never_stopping(done: RunFolder, sample: Path, tmp_path: Path) -> None:
    fit(small(sample, epochs=1), tmp_path)
    fit(small(sample, epochs=2), tmp_path)
    for name in ("metrics.jsonl", "unet_model.pth", "unet_model_final.pth"):
        assert (tmp_path / name).read_bytes() == (done.path / name).read_bytes(), name


def test_another_config_in_the_folder_is_refused_by_its_settings(done: RunFolder, sample: Path) -> None:
    config = small(sample, seed=5, batch_size=2)
    with pytest.raises(jaxseg.InputError) as error:
        fit(config, done.path)
    assert "seed: now 5, there 0" in str(error.value)
    assert "batch_size: now 2, there 4" in str(error.value)
    assert "--workdir" in str(error.value)


def test_logging_and_threads_may_change(done: RunFolder, sample: Path) -> None:
    config = small(sample, logs=jaxseg.Logs(every=9, tensorboard=False))
    fit(dataclasses.replace(config, data=dataclasses.replace(config.data, threads=1)), done.path)


def test_a_setting_that_came_after_the_run_has_its_default(done: RunFolder, sample: Path, tmp_path: Path) -> None:
    shutil.copytree(done.path, tmp_path / "older")
    config = json.loads(done.config.read_text())
    del config["config"]["model"]["activation"]
    (tmp_path / "older" / "config.json").write_text(json.dumps(config))
    fit(small(sample), tmp_path / "older")
    with pytest.raises(jaxseg.InputError, match=r"model\.activation: now 'silu', there 'relu'"):
        fit(small(sample, model=jaxseg.UNet(widths=(4, 8), norm="batch", activation="silu")), tmp_path / "older")


def test_a_letterboxed_run(sample: Path, tmp_path: Path) -> None:
    """It trains, its numbers count the pictures alone, and model.json tells the rule to whoever uses the weights."""
    config = small(sample, epochs=1)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, resize="letterbox"))
    samples = open_split(config.data, "val")
    inner = [np.prod(samples.placement(int(position)).inner) for position in samples.positions]
    assert sum(inner) < len(samples) * 32 * 48
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        add = Totals.add

        def watch(self: Totals, loss: float, pixels: int, confusion: np.ndarray) -> Totals:
            seen.append((pixels, int(confusion.sum())))
            return add(self, loss, pixels, confusion)

        patch.setattr(Totals, "add", watch)
        folder = fit(config, tmp_path)
    steps = math.ceil(len(samples) / config.batch_size)
    for counts in zip(*seen[-steps:], strict=True):  # of the last validation, by the best weights
        assert sum(counts) == sum(inner)
    assert json.loads(folder.model.read_text())["resize"] == "letterbox"
    assert jaxseg.load(folder.path).resize == "letterbox"


@pytest.mark.parametrize("began", ["pillow", "simplejpeg", None])
def test_a_run_keeps_the_decoder_it_began_with(
    done: RunFolder, sample: Path, tmp_path: Path, began: str | None, capsys: pytest.CaptureFixture
) -> None:
    """`auto` is decided once; a run from before there was a choice began with Pillow."""
    if began == "simplejpeg":
        pytest.importorskip("simplejpeg")
    config = json.loads(done.config.read_text())
    assert config["config"]["data"]["decoder"] == decided("auto")
    shutil.copytree(done.path, tmp_path / "run")
    config["config"]["data"]["decoder"] = began
    if began is None:
        del config["config"]["data"]["decoder"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    fit(small(sample), tmp_path / "run")
    assert "This run is finished" in capsys.readouterr().out
    again = json.loads((tmp_path / "run" / "config.json").read_text())
    assert again["config"]["data"]["decoder"] == (began or "pillow")
    if began == "simplejpeg":
        changed = small(sample)
        changed = dataclasses.replace(changed, data=dataclasses.replace(changed.data, decoder="pillow"))
        with pytest.raises(jaxseg.InputError, match=r"data\.decoder: now 'pillow', there 'simplejpeg'"):
            fit(changed, tmp_path / "run")


def test_other_annotations_are_another_run(done: RunFolder, sample: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(sample, tmp_path / "other"))
    path = root / "annotations" / "instances_val2017.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(jaxseg.InputError, match=r"annotations\.val"):
        fit(small(root), done.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 33}, r"33 x 48.*multiples of 2.*--data\.height 32"),
        ({"classes": ("labtop",)}, r"no category named 'labtop'.*'laptop'"),
        ({"root": Path("/nowhere/coco")}, r"(?s)/nowhere/coco is not a folder.*train2017\.zip"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(
    sample: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    config = small(sample)
    with pytest.raises(jaxseg.InputError, match=message):
        fit(dataclasses.replace(config, data=dataclasses.replace(config.data, **change)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_output_channels_that_disagree_with_the_classes_are_told(sample: Path, tmp_path: Path) -> None:
    with pytest.raises(jaxseg.InputError, match=r"model.out_channels is 3; data.mode 'binary'.*needs 1"):
        fit(small(sample, model=jaxseg.UNet(widths=(4, 8), out_channels=3)), tmp_path)


def test_several_classes_are_told_apart(sample: Path, tmp_path: Path) -> None:
    config = small(sample, epochs=1)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, mode="multiclass", channels=1))
    folder = fit(config, tmp_path)
    assert json.loads(folder.model.read_text())["classes"] == ["background", "laptop", "tv", "cell phone"]
    record = read_lines(folder.metrics)[-1]
    assert {f"val_iou_{name}" for name in ("background", "laptop", "tv", "cell phone")} <= set(record)


def test_an_unreadable_image_is_left_out_and_listed(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = Path(shutil.copytree(sample, tmp_path / "coco"))
    config = small(root, epochs=1)
    broken = jaxseg.open_split(config.data, "val")
    position = int(broken.positions[0])
    (broken.files.images / broken.index.file_name(position)).write_bytes(b"not a picture")
    image_id = int(broken.index.image_id[position])
    with pytest.raises(jaxseg.InputError, match=f"Image {image_id}: .*--data.on-error skip"):
        fit(config, tmp_path / "raised")
    skipping = dataclasses.replace(config, data=dataclasses.replace(config.data, on_error="skip"))
    folder = fit(skipping, tmp_path / "skipped")
    assert [fault["image_id"] for fault in read_lines(folder.faults)] == [image_id]
    assert (
        f"Left out, as they could not be read: 1 image ({folder.faults}).\n  val image {image_id}, from step"
        in capsys.readouterr().out
    )


def test_early_stopping_waits_for_patience() -> None:
    config = jaxseg.Config(epochs=99, patience=2)
    progress = Progress(epoch=0, best_step=0, best_loss=float("inf"), epochs_since_best=0, running={})
    for step, loss in enumerate([1.0, 0.5, 0.6, float("nan")], start=1):
        assert not finished(config, progress)
        progress = after_epoch(progress, step, loss)
    assert finished(config, progress)
    assert (progress.best_step, progress.best_loss) == (2, 0.5)
    assert not finished(dataclasses.replace(config, patience=None), progress)


def test_a_first_epoch_of_nan_does_not_stay_the_best() -> None:
    progress = Progress(epoch=0, best_step=0, best_loss=float("inf"), epochs_since_best=0, running={})
    progress = after_epoch(progress, 1, float("nan"))
    assert progress.best_step == 1
    assert after_epoch(progress, 2, 0.7).best_step == 2


def test_the_command_uses_the_config_files_name(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--data.root", str(sample), "--data.height", "32", "--data.width", "32", "--model.widths", "4", "8"]
    main(["--config", str(EXPERIMENTS / "unet.py"), *words, "--epochs", "1", "--batch-size", "4"])
    assert (tmp_path / "runs" / "unet" / "unet_model.pth").exists()
    assert "Everything is in runs/unet/" in capsys.readouterr().out


def test_no_data_root_means_the_sample_and_is_said(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("jaxseg.data.splits.sample_root", lambda: sample)
    fit(small(None, epochs=1), tmp_path)
    assert capsys.readouterr().out.splitlines()[0].startswith("Data (the embedded sample, since no data.root is given)")


def test_weights_and_biases_offline(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    fit(small(sample, epochs=1, logs=jaxseg.Logs(wandb=True)), tmp_path / "run")
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


def test_without_wandb_it_says_what_to_install(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(jaxseg.InputError, match=r"pip install 'jaxseg\[wandb\]'"):
        fit(small(sample, epochs=1, logs=jaxseg.Logs(wandb=True)), tmp_path)


def compile_counter() -> tuple[list[str], Callable[[], None]]:
    """A list that grows with each compilation, and what stops it."""
    seen: list[str] = []

    def listen(event: str, duration: float, **_: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return seen, lambda: jax._src.monitoring.unregister_event_duration_listener(listen)


def test_nothing_compiles_after_the_first_epoch(sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, stop = compile_counter()
    counts = []
    real = jaxseg.training.report
    monkeypatch.setattr("jaxseg.training.report", lambda *args: (counts.append(len(seen)), real(*args)))
    try:
        fit(small(sample, epochs=3, seed=11), tmp_path)
    finally:
        stop()
    assert counts[0] > 0, "the listener heard nothing"
    assert counts[2] == counts[1] == counts[0]


@pytest.mark.parametrize("kind", ["best", "final"])
def test_pytorch_loads_the_weights_strictly(done: RunFolder, kind: str) -> None:
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    path = done.best_weights if kind == "best" else done.final_weights
    state = torch.load(path, weights_only=True)
    assert state["enc1.0.weight"].shape == (4, 3, 3, 3)
    assert all(np.isfinite(value.numpy()).all() for value in state.values())


def test_a_run_whose_weights_ran_away_ends_and_says_so(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """NaN from the first epoch on: the newest checkpoint is the best, and the threshold stays 0.5."""
    model = jaxseg.UNet(widths=(4, 8), norm="none")
    folder = fit(small(sample, model=model, optimizer=jaxseg.Adam(1e30), guard=jaxseg.Guard("skip")), tmp_path)
    said = capsys.readouterr().out
    assert said.count("the weights have run away") == 1
    assert "warning: the threshold stays 0.5" in said
    assert json.loads(folder.model.read_text())["threshold"] == 0.5
    assert "the best after step 6" in said
