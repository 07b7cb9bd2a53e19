"""The command `jaxseg.convert`: both ways, every bit, refusals by message, and its proof."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from conftest import at_hand
from torch_milesial import randomise
from torch_unet import needs_torch, torch

import jaxseg
from jaxseg.assumed import Choices
from jaxseg.convert import convert, main
from jaxseg.errors import InputError
from jaxseg.foreign import Foreign
from jaxseg.models.unet import UNet
from jaxseg.pth import read_pth, write_pth
from jaxseg.run import RunFolder
from jaxseg.schemes import SCHEMES
from jaxseg.tensors_file import read_safetensors
from jaxseg.torch_weights import to_state_dict
from jaxseg.train import fit
from jaxseg.weights import read_weights

TESTS = Path(__file__).parent


def small(root: Path, **changes: object) -> jaxseg.Config:
    data = jaxseg.Data(root=root, classes=("laptop", "tv", "cell phone"), height=32, width=48)
    model = jaxseg.UNet(widths=(4, 8), norm="batch")
    logs = jaxseg.Logs(pictures=1)
    return dataclasses.replace(jaxseg.Config(data, model, epochs=1, batch_size=4, logs=logs), **changes)


@pytest.fixture(scope="module")
def run(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return fit(small(sample), tmp_path_factory.mktemp("runs") / "done")


def state_of(model: UNet, channels: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict in the original's names."""
    variables = jax.jit(model.init)(jax.random.key(seed), jnp.zeros((1, 16, 16, channels)))
    return to_state_dict(variables["params"], variables.get("batch_stats", {}), batches=5)


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (value.dtype, value.shape), name
        assert ours[name].tobytes() == value.tobytes(), name


def test_a_run_becomes_the_file_that_training_wrote_and_comes_back(run: RunFolder, tmp_path: Path) -> None:
    convert(run.path, tmp_path / "m.pth")
    assert (tmp_path / "m.pth").read_bytes() == run.best_weights.read_bytes()
    beside = json.loads((tmp_path / "m.pth.json").read_text())
    assert {"height", "width", "scale", "classes", "torch"} <= set(beside)
    back = convert(tmp_path / "m.pth", tmp_path / "folder").weights
    trained = read_weights(run.path)
    assert back.description == trained.description
    assert_same(back.leaves, trained.leaves)
    assert back.model == trained.model


@pytest.mark.parametrize("which", ["latest", "best", "step"])
def test_a_checkpoint_is_chosen(run: RunFolder, tmp_path: Path, which: str) -> None:
    step = max(int(path.name) for path in run.checkpoints.iterdir() if path.name.isdecimal())
    convert(run.path, tmp_path / "m.pth", checkpoint=str(step) if which == "step" else which)
    assert (tmp_path / "m.pth").read_bytes() == run.final_weights.read_bytes()
    assert_same(read_weights(run.checkpoints / str(step)).leaves, read_weights(run.path).leaves)


@pytest.mark.parametrize("path", ["folder", "m.safetensors"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_there_and_back_keeps_every_bit_type_and_the_order(dtype: type, path: str, tmp_path: Path) -> None:
    """With bits that a detour by float32 would not keep."""
    state = {
        n: v.astype(dtype) if v.ndim else v for n, v in state_of(UNet((4, 8), out_channels=1, norm="batch")).items()
    }
    state["enc1.1.running_mean"] = state["enc1.1.running_mean"].astype(np.float32)  # mixed, as half() leaves some
    state["enc1.0.bias"].view(np.uint8)[:] = 0xFD  # a NaN with a payload
    state = dict(sorted(state.items(), reverse=True))
    write_pth(tmp_path / "a.pth", state)
    convert(tmp_path / "a.pth", tmp_path / path)
    convert(tmp_path / path, tmp_path / "b.pth")
    assert_same(read_pth(tmp_path / "b.pth").tensors, state)


def test_safetensors_holds_pytorchs_names(run: RunFolder, tmp_path: Path) -> None:
    convert(run.path, tmp_path / "m.safetensors")
    assert_same(read_safetensors(tmp_path / "m.safetensors").tensors, read_pth(run.best_weights).tensors)


def test_float64_becomes_float32_aloud(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    state = {name: value.astype(np.float64) for name, value in state_of(UNet((4, 8), out_channels=1)).items()}
    write_pth(tmp_path / "a.pth", state)
    convert(tmp_path / "a.pth", tmp_path / "out")
    assert "16 tensors are float64 and become float32" in capsys.readouterr().out
    torch_part = json.loads((tmp_path / "out" / "model.json").read_text())["torch"]
    assert set(torch_part["types"].values()) == {"float64"}
    state["enc1.0.bias"][0] = 1e300
    write_pth(tmp_path / "a.pth", state)
    with pytest.raises(InputError, match=r"too large for float32, in enc1\.0\.bias"):
        convert(tmp_path / "a.pth", tmp_path / "out2")


def test_the_real_checkpoint_of_another_code_base(tmp_path: Path) -> None:
    source = at_hand("checkpoints/stem_segunet.pt")
    reference = source.with_name("stem_segunet_ref.npz")
    result = convert(source, tmp_path / "out", reference=reference)
    assert result.proven
    with np.load(reference) as file:
        image, expected = file["x_nchw"].transpose(0, 2, 3, 1), file["logits_nchw"]
    logits = jax.jit(result.weights.model.apply)(result.weights.variables, jnp.asarray(image))
    assert np.abs(np.asarray(logits).transpose(0, 3, 1, 2) - expected).max() < 1e-4
    convert(tmp_path / "out", tmp_path / "back.pt")
    assert_same(read_pth(tmp_path / "back.pt").tensors, read_pth(source).tensors)


def test_a_real_network_with_attention_is_refused_by_that_layer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"layers that jaxseg has not: att\.conv\.weight"):
        convert(at_hand("checkpoints/mouse_pupil_unet.pth"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_assumption_is_found_and_named(tmp_path: Path) -> None:
    source = at_hand("checkpoints/stem_segunet.pt")
    for name, choices, reason in (
        ("order", Choices(up_first=False), "it concatenates (up, skip): --up-first True"),
        ("epsilon", Choices(epsilon=0.1), "wrong epsilon, 1e-05 fits"),
    ):
        result = convert(
            source,
            tmp_path / name,
            foreign=Foreign(choices=choices),
            reference=source.with_name("stem_segunet_ref.npz"),
        )
        assert not result.proven
        assert reason in (result.proofs[0].reason or "")
        written = json.loads((tmp_path / name / "conversion.json").read_text())
        assert written["proven"] is False
        assert written["proofs"][0]["first_off"] == "output"


@needs_torch
@pytest.mark.parametrize(
    ("call", "scheme"),
    [
        ("torch_milesial.py:MilesialUNet(3, 2, True, 4, 2)", "milesial"),
        ("torch_milesial.py:PlainUNet(1, 5, 4, 2)", "plain"),
        ("torch_milesial.py:NamedUNet(3, 1, 4, 2)", "buda"),
        ("torch_unet.py:TorchUNet((4, 8, 16), 3, 1, 'batch')", "original"),
    ],
)
def test_proof_layer_by_layer_in_both_directions(call: str, scheme: str, tmp_path: Path) -> None:
    from jaxseg.torch_side import load_class

    network = randomise(load_class(f"{TESTS}/{call}"))
    torch.save(network.state_dict(), tmp_path / "a.pth")
    result = convert(tmp_path / "a.pth", tmp_path / "out", torch_model=f"{TESTS}/{call}")
    assert result.proven, str(result.proofs[0])
    assert result.weights.scheme == scheme
    errors = result.proofs[0].errors
    assert max(e.relative for e in errors) < 1e-5
    convolutions = [n for n, m in network.named_modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    assert set(convolutions) <= {e.layer for e in errors}
    assert convert(tmp_path / "out", tmp_path / "b.pth", torch_model=f"{TESTS}/{call}").proven
    strict = torch.load(tmp_path / "b.pth", weights_only=True)
    network.load_state_dict(strict, strict=True)


@needs_torch
@pytest.mark.parametrize(
    ("change", "first", "reason"),
    [
        ("m.enc2[0].weight.data = m.enc2[0].weight.data.flip(2, 3)", "enc2.0", "the kernel of enc2/0 is flipped"),
        ("m.up2.weight.data = m.up2.weight.data.transpose(2, 3)", "up2", "height and width exchanged"),
        (
            "m.bottom[3].weight.data = m.bottom[3].weight.data.transpose(0, 1)",
            "bottom.3",
            "inputs and outputs exchanged",
        ),
        ("m.enc1[1].eps = 0.01", "enc1.1", "wrong epsilon, 0.01 fits"),
    ],
)
def test_a_network_that_does_otherwise_is_caught_at_its_first_layer(
    change: str, first: str, reason: str, tmp_path: Path
) -> None:
    """The class changes itself after it has loaded the weights, as a class does that computes otherwise."""
    source = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from torch_milesial import PlainUNet, randomise
class Other(PlainUNet):
    def __init__(self):
        super().__init__(1, 2, 4, 2)
        randomise(self)
    def load_state_dict(self, state, strict=True):
        result = super().load_state_dict(state, strict)
        m = self
        {change}
        return result
"""
    (tmp_path / "other.py").write_text(source)
    from torch_milesial import PlainUNet

    torch.save(randomise(PlainUNet(1, 2, 4, 2)).state_dict(), tmp_path / "a.pth")
    proof = convert(tmp_path / "a.pth", tmp_path / "out", torch_model=f"{tmp_path}/other.py:Other").proofs[0]
    assert proof.first_off == first
    assert reason in (proof.reason or "")


def test_without_anything_to_compare_with_it_says_unproven(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_pth(tmp_path / "a.pth", state_of(UNet((4, 8), out_channels=1)))
    main([str(tmp_path / "a.pth"), str(tmp_path / "out")])
    assert "Unproven" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "conversion.json").read_text())["proven"] is False
    with pytest.raises(SystemExit) as status:
        main([str(tmp_path / "a.pth"), str(tmp_path / "out"), "--verify"])
    assert status.value.code == 1


def test_mistakes_are_told_plainly(tmp_path: Path, run: RunFolder, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "a.pth"
    write_pth(file, state_of(UNet((4, 8), out_channels=3)))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("mine")
    (tmp_path / "ref.npz").write_text("no")
    out = str(tmp_path / "out")
    for words, message in (
        ([str(tmp_path / "none.pth"), out], "none.pth: no such file"),
        ([str(tmp_path / "none"), out], "no such file or folder"),
        ([str(tmp_path / "full"), out], "neither a run's folder nor a converted one"),
        ([str(file), str(tmp_path / "full")], "is there already and is no converted folder"),
        ([str(file), str(file)], "written over itself"),
        ([str(run.path), str(tmp_path / "b.pth"), "--checkpoint", "77"], "no checkpoint of step 77"),
        ([str(run.path), str(tmp_path / "b.pth"), "--checkpoint", "first"], "give best, latest"),
        ([str(run.path), str(tmp_path / "b.pth"), "--scheme", "plain"], "concatenates (up, skip)"),
        ([str(run.path), str(tmp_path / "b.pth"), "--scheme", "smp"], "there are original, milesial"),
        ([str(file), out, "--classes", "a"], "names 1 classes; the network has 3 output channels, so 2"),
        ([str(file), out, "--reference", str(tmp_path / "ref.npz")], "no .npz that NumPy reads"),
    ):
        with pytest.raises(SystemExit) as status:
            main(words)
        assert status.value.code == 2
        assert message in capsys.readouterr().err, words


def test_a_run_in_the_names_of_another_class(tmp_path: Path, run: RunFolder) -> None:
    result = convert(run.path, tmp_path / "m.pth", foreign=Foreign(scheme=SCHEMES["milesial"]))
    names = list(read_pth(tmp_path / "m.pth").tensors)
    assert names[0] == "inc.double_conv.0.weight"
    assert names[-1] == "outc.conv.bias"
    assert result.weights.model == read_weights(run.path).model


def test_everything_works_where_pytorch_is_not(tmp_path: Path, run: RunFolder) -> None:
    program = f"""
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoTorch())
from jaxseg.convert import main
main([{str(run.path)!r}, {str(tmp_path / "m.pth")!r}])
main([{str(tmp_path / "m.pth")!r}, {str(tmp_path / "out")!r}])
main([{str(tmp_path / "out")!r}, {str(tmp_path / "m.safetensors")!r}])
main([{str(tmp_path / "m.safetensors")!r}, {str(tmp_path / "n.pth")!r}, "--torch-model", "a.py:UNet"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--torch-model needs PyTorch" in done.stderr
    assert (tmp_path / "m.safetensors").exists()
    assert not (tmp_path / "n.pth").exists()
