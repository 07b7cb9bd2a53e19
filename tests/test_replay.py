"""A run that stops at a bad step names where it went wrong, and leaves a file that gives the same step again."""

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_guard import MARKS, Fragile, batch_of

import jaxseg
from jaxseg.cadence import Checkpointing
from jaxseg.checkpoint import Checkpoints
from jaxseg.config import CLASSES, from_json
from jaxseg.data.loader import PADDING, Loaded
from jaxseg.diagnosis import OUTPUT, Anatomy, assemble, first_fault, take_apart
from jaxseg.errors import InputError, told_plainly
from jaxseg.guard import STOP, Guard, Verdict
from jaxseg.incident import Incident, read_incident, read_settings
from jaxseg.loop import compile_steps
from jaxseg.models.unet import UNet
from jaxseg.replay import replay
from jaxseg.run import RunFolder, read_lines
from jaxseg.sharding import data_parallel
from jaxseg.step import StepResult, TrainState, create_state
from jaxseg.train import fit, main
from jaxseg.unsound import MOST_IN_A_ROW, Skips, UnsoundStep

MODEL = UNet((4, 8), out_channels=1, norm="batch")
NAMES = "enc1/0 enc1/1 enc1/3 enc1/4 enc1 bottleneck/0 bottleneck/1 bottleneck/3 bottleneck/4 bottleneck upconv1 "
LAYERS = [*(NAMES + "dec1/0 dec1/1 dec1/3 dec1/4 dec1 final_conv").split(), OUTPUT]


@cache
def new() -> TrainState:
    optimizer = jaxseg.Adam().build()
    return jax.jit(partial(create_state, model=MODEL, optimizer=optimizer, image_shape=(8, 12, 3)))(jax.random.key(0))


@cache
def taken():
    return jax.jit(partial(take_apart, model=MODEL, loss=Fragile()))


def anatomy(state: TrainState, breaks: str | None = None) -> Anatomy:
    return assemble(taken()(state, batch_of(0, breaks)))


def planted(layer: str, value: float) -> TrainState:
    """A state whose kernel, or scale, is `value` in one layer."""
    params = jax.tree.map(lambda leaf: leaf, new().params)
    place = params
    for name in layer.split("/"):
        place = place[name]
    name = "kernel" if "kernel" in place else "scale"
    place[name] = jnp.full_like(place[name], value)
    return new()._replace(params=params)


# The diagnosis.


def test_layers_are_in_the_order_of_the_forward_and_parameters_of_the_backward_pass() -> None:
    found = anatomy(new())
    assert list(found.forward) == LAYERS
    layers = [name.rpartition("/")[0] for name in found.backward]
    weighted = [name for name in LAYERS if any(other == name for other in layers)]
    assert list(dict.fromkeys(layers))[1:] == weighted[::-1]
    assert len(found.backward) == 1 + len(jax.tree.leaves(new().params))
    assert first_fault(found, Verdict.SOUND).kind == "unseen"


@pytest.mark.parametrize("layer", ["enc1/0", "enc1/4", "bottleneck/3", "upconv1", "dec1/0", "final_conv"])
def test_the_layer_that_overflows_is_named(layer: str) -> None:
    """Its weights are finite, its output is not; and all layers before it are."""
    found = anatomy(planted(layer, 3e38))
    assert first_fault(found, Verdict.NOT_FINITE)[:2] == ("forward", layer)
    for before in LAYERS[: LAYERS.index(layer)]:
        assert found.forward[before].bad == 0


def test_a_weight_that_is_not_finite_is_named_before_its_layer() -> None:
    cause = first_fault(anatomy(planted("bottleneck/0", np.nan)), Verdict.NOT_FINITE)
    assert cause[:2] == ("state", "params/bottleneck/0/kernel")


@pytest.mark.parametrize(
    ("breaks", "kind", "name"),
    [("loss", "loss", "loss"), ("gradient", "backward", OUTPUT), ("square", "backward", None)],
)
def test_what_breaks_after_the_network_is_told_apart(breaks: str, kind: str, name: str | None) -> None:
    found = anatomy(new(), breaks)
    cause = first_fault(found, Verdict.NOT_FINITE)
    assert cause.kind == kind
    assert name is None or cause.name == name
    assert all(n.bad == 0 for n in found.forward.values())


def test_numbers_describe_an_array() -> None:
    """Against NumPy, in float64."""
    found = anatomy(new())
    kernel = np.asarray(new().params["enc1"]["0"]["kernel"], np.float64)
    numbers = found.state["params/enc1/0/kernel"]
    expected = (0, kernel.min(), kernel.max(), np.abs(kernel).mean(), np.sqrt((kernel**2).sum()))
    assert numbers == pytest.approx(expected, rel=1e-5)
    holed = new().params
    holed = {
        **holed,
        "final_conv": {**holed["final_conv"], "kernel": jnp.array([np.inf, 1e38, -3e38, np.nan])[None, None, :, None]},
    }
    numbers = anatomy(new()._replace(params=holed)).state["params/final_conv/kernel"]
    assert numbers[:4] == pytest.approx((0.5, -3e38, 1e38, 2e38), rel=1e-5)


# A run that stops.

BAD = 5
"""The step whose batch is marked: the second of the second epoch."""


def config_of(root: Path, guard: Guard = STOP) -> jaxseg.Config:
    """Three steps an epoch, and a checkpoint at each."""
    data = jaxseg.Data(root=root, classes=("laptop", "tv", "cell phone"), height=16, width=24)
    return jaxseg.Config(
        data,
        UNet((4, 8)),
        Fragile(),
        jaxseg.Adam(1e-2),
        epochs=2,
        batch_size=4,
        guard=guard,
        checkpointing=Checkpointing(steps=1),
        logs=jaxseg.Logs(every=1, pictures=0, tensorboard=False),
    )


@pytest.fixture(scope="module")
def _marked() -> Iterator[None]:
    """The loader marks one batch; and the tests' loss can be read from JSON."""

    @contextmanager
    def marking(*args: object, start: int, **settings: object) -> Iterator[Iterator[Loaded]]:
        def mark(batches: Iterator[Loaded]) -> Iterator[Loaded]:
            for step, loaded in enumerate(batches, start + 1):
                if step == BAD:
                    loaded.batch.mask[0, 0, 0] = MARKS["loss"]
                yield loaded

        with real(*args, start=start, **settings) as batches:
            yield mark(batches)

    real = jaxseg.train_batches
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxseg.training.train_batches", marking)
        patch.setattr("jaxseg.config.CLASSES", (*CLASSES, Fragile))
        yield


def stopping(root: Path, folder: Path) -> str:
    with pytest.raises(UnsoundStep) as stop:
        fit(config_of(root), folder)
    return str(stop.value)


@pytest.fixture(scope="module")
def stopped(sample: Path, tmp_path_factory: pytest.TempPathFactory, _marked: None) -> tuple[RunFolder, str]:
    """A run that stopped, and what it said."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "stopped")
    return folder, stopping(sample, folder.path)


def test_a_stop_tells_the_step_the_images_the_place_and_what_to_do(
    stopped: tuple[RunFolder, str], sample: Path
) -> None:
    folder, said = stopped
    config = config_of(sample)
    samples = jaxseg.open_split(config.data, "train")
    with jaxseg.train_batches(samples, config.batch_size, seed=config.seed, start=BAD - 1) as batches:
        ids = " ".join(map(str, next(batches).image_ids))
    assert f"step {BAD}: not finite: loss inf" in said
    assert f"Images of its batch: {ids}\n" in said
    assert "their loss is not: Fragile divides by zero" in said
    assert f"--replay {folder.nonfinite(BAD)}" in said
    assert "stops at this step again" in said
    assert "--guard.action skip" in said
    assert max(record["step"] for record in read_lines(folder.metrics)) == BAD - 1


def test_the_file_holds_the_state_before_the_step(stopped: tuple[RunFolder, str]) -> None:
    """To the bit that of the checkpoint of the step before, though another step was started since."""
    folder, _ = stopped
    like = read_state(folder.nonfinite(BAD))
    incident = read_incident(folder.nonfinite(BAD), like)
    assert (incident.step, int(incident.state.step)) == (BAD, BAD - 1)
    with Checkpoints(folder.checkpoints) as checkpoints:
        expected, _ = checkpoints.restore(BAD - 1, like)
    for ours, theirs in zip(jax.tree.leaves(incident.state), jax.tree.leaves(expected), strict=True):
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()


def read_state(file: Path) -> TrainState:
    """Shapes and types of the state in the file."""
    config = from_json(read_settings(file))
    return jax.eval_shape(compile_steps(config, data_parallel(4)).create, jax.random.key(0))


def leaves(incident: Incident) -> list[bytes | str | int]:
    return [leaf.tobytes() if isinstance(leaf, np.ndarray) else leaf for leaf in jax.tree.leaves(incident)]


def test_replaying_needs_the_file_alone_and_gives_the_same_bits(
    stopped: tuple[RunFolder, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    file = Path(shutil.copy(stopped[0].nonfinite(BAD), tmp_path / "alone.npz"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxseg.plan.open_split", None)
    found = replay(file)
    assert found.reproduced
    assert str(found).endswith("Reproduced bit for bit.")
    changed = found._replace(result=found.result._replace(norm=np.float32(1)))
    assert not changed.reproduced
    assert "NOT reproduced" in str(changed)
    main(["--replay", str(file), "--model.dtype", "bfloat16"])
    said = capsys.readouterr().out
    assert "model.dtype: here 'bfloat16', there 'float32'" in said
    assert "Reproduced" not in said
    assert all(f"  {name} " in said for name in found.anatomy.forward)


def test_the_same_command_stops_at_the_same_step_and_with_skip_goes_on(
    stopped: tuple[RunFolder, str], sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """And ends in the bytes of the run that skipped from the start; the file of the stop comes out the same."""
    again = RunFolder(Path(shutil.copytree(stopped[0].path, tmp_path / "again")))
    assert stopping(sample, again.path).splitlines()[:3] == stopped[1].splitlines()[:3]
    assert again.nonfinite(BAD).read_bytes() == stopped[0].nonfinite(BAD).read_bytes()
    fit(config_of(sample, Guard("skip")), again.path)
    assert f"step {BAD} is left out, not finite: loss inf" in capsys.readouterr().out
    whole = fit(config_of(sample, Guard("skip")), tmp_path / "whole")
    said = capsys.readouterr().out
    assert "1 update left out" in said
    for name in ("metrics.jsonl", "unet_model.pth", "unet_model_final.pth"):
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes(), name
    records = read_lines(whole.metrics)
    assert [record["skipped_updates"] for record in records if "epoch" in record] == [0, 1]
    assert [record["batch_loss"] is None for record in records if "batch_loss" in record] == [
        step == BAD for step in range(1, 7)
    ]
    assert all(np.isfinite(record["train_loss"]) for record in records if "epoch" in record)


def test_the_command_exits_with_1(stopped: tuple[RunFolder, str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended, told_plainly():
        raise UnsoundStep(stopped[1])
    assert ended.value.code == 1
    assert f"error: step {BAD}" in capsys.readouterr().err


def test_where_the_file_cannot_be_written_the_rest_is_told(
    stopped: tuple[RunFolder, str], sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = Path(shutil.copytree(stopped[0].path, tmp_path / "again"))
    RunFolder(again).nonfinite(BAD).unlink()

    def full(*_: object, **arrays: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jaxseg.incident.np.savez", full)
    said = stopping(sample, again)
    assert "could not be saved" in said
    assert "No space left on device" in said
    assert "their loss is not" in said
    assert not list(again.glob("*nonfinite*"))


# Files that are none.


def test_every_flipped_byte_is_noticed(stopped: tuple[RunFolder, str], tmp_path: Path) -> None:
    """Or changes nothing: the few bytes of a zip that say nothing of its contents."""
    whole = stopped[0].nonfinite(BAD).read_bytes()
    like = read_state(stopped[0].nonfinite(BAD))
    expected = leaves(read_incident(stopped[0].nonfinite(BAD), like))
    draw, path, noticed = np.random.default_rng(0), tmp_path / "flipped.npz", 0
    for place in draw.integers(0, len(whole), 60):
        broken = bytearray(whole)
        broken[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(broken)
        try:
            found = leaves(read_incident(path, like))
        except InputError:
            noticed += 1
        else:
            assert found == expected
    assert noticed > 40


@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_a_truncated_file_is_told(stopped: tuple[RunFolder, str], tmp_path: Path, share: float) -> None:
    whole = stopped[0].nonfinite(BAD).read_bytes()
    path = tmp_path / "cut.npz"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"cut\.npz is damaged, or not the file of a step"):
        replay(path)


def test_foreign_files_are_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    np.savez(tmp_path / "other.npz", about=np.zeros(3, np.uint8))
    np.savez(tmp_path / "objects.npz", about=np.array([{}], object))
    np.save(tmp_path / "array.npz.npy", np.zeros(3))
    for name, message in {
        "other.npz": "is not the file of a step",
        "objects.npz": "is damaged, or not the file of a step",
        "array.npz.npy": "is damaged, or not the file of a step",
        "absent.npz": "no such file",
    }.items():
        with pytest.raises(SystemExit):
            main(["--replay", str(tmp_path / name)])
        assert message in capsys.readouterr().err


def test_another_network_than_the_files_is_told_by_its_arrays(stopped: tuple[RunFolder, str]) -> None:
    config = from_json(read_settings(stopped[0].nonfinite(BAD)))
    wider = dataclasses.replace(config, model=config.model.clone(widths=(4, 6)))
    with pytest.raises(InputError, match=r"(?s)state of another network.*there float32 \(3, 3, 4, 8\), here"):
        replay(stopped[0].nonfinite(BAD), wider)


# Skipping.


def test_a_run_that_only_skips_gives_up(capsys: pytest.CaptureFixture) -> None:
    skips = Skips(7)
    bad = StepResult(np.float32(np.nan), np.int32(0), np.zeros((2, 2)), np.float32(np.nan), np.int32(1))
    for step in range(1, MOST_IN_A_ROW):
        skips.note(step, np.array([5, PADDING]), bad)
    said = capsys.readouterr().out
    assert "step 1 is left out, not finite: loss nan, gradient norm nan; images 5; 8 so far" in said
    assert said.count("left out") == 10
    with pytest.raises(UnsoundStep, match=f"the last {MOST_IN_A_ROW} updates were all left out"):
        skips.note(MOST_IN_A_ROW, np.array([5]), bad)
