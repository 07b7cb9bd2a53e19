"""Training from weights that came from elsewhere: `--init`."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import random_batch
from test_convert import small, state_of
from torch_unet import TorchUNet, load_strictly, needs_torch, torch, torch_images

from jaxseg.arrays import VOID
from jaxseg.convert import convert
from jaxseg.errors import InputError
from jaxseg.initial import read_initial, started_from
from jaxseg.losses import CrossEntropy
from jaxseg.models.unet import UNet
from jaxseg.optim import Adam
from jaxseg.pth import read_pth, write_pth
from jaxseg.run import RunFolder, read_lines
from jaxseg.sharding import data_parallel
from jaxseg.step import TrainState, create_state, train_step
from jaxseg.torch_weights import to_state_dict
from jaxseg.train import fit, main
from jaxseg.weights import read_weights

MODEL = UNet((4, 8), out_channels=1, norm="batch")
ADAM = Adam(1e-3)


def started(path: Path, model: UNet = MODEL, channels: int = 3, folder: Path = Path("nowhere")) -> TrainState:
    initial = read_initial(path, RunFolder(folder), model, channels)
    assert initial is not None
    create = jax.jit(partial(create_state, model=model, optimizer=ADAM.build(), image_shape=(16, 16, channels)))
    return started_from(create(jax.random.key(1)), initial, ADAM.build(), data_parallel(1))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_pth(tmp_path / "given.pth", state_of(MODEL))
    return tmp_path / "given.pth"


@pytest.mark.parametrize("form", ["pth", "safetensors", "folder"])
def test_the_weights_are_the_given_ones(file: Path, form: str, tmp_path: Path) -> None:
    path = file
    if form != "pth":
        path = tmp_path / ("m.safetensors" if form == "safetensors" else "m")
        convert(file, path)
    state = started(path)
    named = to_state_dict(state.params, state.batch_stats, batches=5)
    for name, value in read_pth(file).tensors.items():
        np.testing.assert_array_equal(named[name], value, name)


def test_other_classes_and_channels_start_afresh_in_that_layer_alone(file: Path) -> None:
    model = MODEL.clone(out_channels=4)
    initial = read_initial(file, RunFolder(Path("nowhere")), model, 1)
    assert initial is not None
    text = "\n".join(initial.notes)
    assert "enc1/0 starts afresh: 3 input channels there, 1 here" in text
    assert "final_conv starts afresh: 1 output channels there, 4 here" in text
    state = started(file, model, 1)
    fresh = jax.jit(partial(create_state, model=model, optimizer=ADAM.build(), image_shape=(16, 16, 1)))(
        jax.random.key(1)
    )
    given = read_weights(file).variables["params"]
    for layer, place in (("enc1", "0"), ("final_conv", None)):
        ours, new = (s.params[layer][place] if place else s.params[layer] for s in (state, fresh))
        np.testing.assert_array_equal(ours["kernel"], new["kernel"])
        np.testing.assert_array_equal(ours["bias"], new["bias"])
    np.testing.assert_array_equal(state.params["enc1"]["3"]["kernel"], given["enc1"]["3"]["kernel"])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (UNet((4, 8, 16), out_channels=1, norm="batch"), r"(?s)model.widths: here \(4, 8, 16\).*enc2/0/kernel +- "),
        (UNet((4, 6), out_channels=1, norm="batch"), r"(?s)bottleneck/0/kernel +\(3, 3, 4, 8\) +\(3, 3, 4, 6\)"),
        (UNet((4, 8), out_channels=1), r"(?s)model.norm: here none, there batch.*enc1/1/scale +\(4,\) +-"),
        (MODEL.clone(up_first=True), "model.up_first: here True, there False"),
        (MODEL.clone(epsilon=1e-3), r"model.epsilon: here 0.001, there 1e-05"),
    ],
)
def test_another_architecture_is_refused_by_what_differs(file: Path, model: UNet, message: str) -> None:
    with pytest.raises(InputError, match=message):
        started(file, model)


def test_training_starts_from_it_and_says_so_but_a_run_that_goes_on_does_not(
    file: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    frozen = dataclasses.replace(small(sample), optimizer=Adam(0.0))
    folder = fit(frozen, tmp_path / "run", init=file)
    assert f"Starting from {file}" in capsys.readouterr().out
    given, left = read_pth(file).tensors, read_pth(folder.final_weights).tensors
    for name, value in given.items():
        if "running" not in name and "tracked" not in name:
            np.testing.assert_array_equal(left[name], value, name)
    fit(dataclasses.replace(frozen, epochs=2), tmp_path / "run", init=file)
    out = capsys.readouterr().out
    assert "is ignored: the run goes on" in out
    assert "Starting from" not in out
    assert len([line for line in read_lines(folder.metrics) if "val_loss" in line]) == 2


def test_a_refused_start_leaves_no_run_behind(file: Path, sample: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(small(sample), model=UNet((4, 8, 16), norm="batch"))
    with pytest.raises(InputError, match="another architecture"):
        fit(other, tmp_path / "run", init=file)
    assert not (tmp_path / "run" / "config.json").exists()


def test_the_command_takes_it(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = tmp_path / "c.py"
    config.write_text("import jaxseg\nconfig = jaxseg.Config(model=jaxseg.UNet((4, 8)))\n")
    words = ["--config", str(config), "--data.root", str(sample), "--workdir", str(tmp_path / "r")]
    with pytest.raises(SystemExit) as status:
        main([*words, "--init", str(tmp_path / "none.pth")])
    assert status.value.code == 1
    assert "none.pth: no such file" in capsys.readouterr().err


def steps(state: TrainState, model: UNet, count: int) -> tuple[TrainState, list[float]]:
    step = jax.jit(partial(train_step, model=model, optimizer=ADAM.build(), loss=CrossEntropy()))
    losses = []
    for seed in range(count):
        state, result = step(state, jax.tree.map(jnp.asarray, random_batch(seed, 2, (16, 24), void=0.0)))
        losses.append(float(result.loss))
    return state, losses


def torch_steps(network, count: int) -> list[float]:
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=ADAM.learning_rate)
    losses = []
    for seed in range(count):
        batch = random_batch(seed, 2, (16, 24), void=0.0)
        assert VOID not in batch.mask
        logits = network.logits(torch_images(batch.image))[:, 0]
        loss = torch.nn.BCEWithLogitsLoss()(logits, torch.from_numpy(batch.mask).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@needs_torch
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_ten_steps_go_on_alike_in_pytorch_and_in_jaxseg_from_either(norm: str, tmp_path: Path) -> None:
    model = UNet((4, 8, 12), out_channels=1, norm=norm)
    torch.manual_seed(0)
    network = TorchUNet((4, 8, 12), 3, 1, norm)
    torch_steps(network, 10)
    torch.save(network.state_dict(), tmp_path / "from_torch.pth")
    state, ours = steps(started(tmp_path / "from_torch.pth", model), model, 10)
    np.testing.assert_allclose(ours, torch_steps(network, 10), rtol=1e-4)

    write_pth(tmp_path / "from_jaxseg.pth", to_state_dict(state.params, state.batch_stats, batches=10))
    load_strictly(network, read_pth(tmp_path / "from_jaxseg.pth").tensors)
    fresh = state._replace(opt_state=ADAM.build().init(state.params))
    _, ours = steps(fresh, model, 10)
    np.testing.assert_allclose(ours, torch_steps(network, 10), rtol=1e-4)
