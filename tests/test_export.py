"""Exports give jaxseg's masks where jaxseg is not: in StableHLO, ONNX and PyTorch, at any batch and size."""

import importlib.util
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
from trained import random_images, random_model, tiny_run

import jaxseg
from jaxseg import export
from jaxseg.agreement import compare, masks_of, reference
from jaxseg.export import FORMS, export_model, main, photographs
from jaxseg.predictor import load_model
from jaxseg.run import RunFolder
from jaxseg.tensors_file import read_safetensors
from jaxseg.torch_weights import to_state_dict

NAMES = {"stablehlo": "unet.zip", "onnx": "unet.onnx", "safetensors": "unet.safetensors", "torch": "unet.py"}
RUNTIMES = {"stablehlo": ("jax",), "onnx": ("onnx", "onnxruntime"), "safetensors": ("torch",), "torch": ("torch",)}
CASES: dict[str, dict[str, Any]] = {
    "original": {},
    "batch norm": {"norm": "batch", "epsilon": 1e-3},
    "no biases": {"norm": "batch", "bias": False},
    "up first": {"up_first": True},
    "bilinear": {"up": "bilinear"},
    "corners": {"up": "bilinear_corners", "pad": True, "up_first": True},
    "padded": {"pad": True},
    "multiclass": {"out_channels": 3},
    "grey": {"channels": 1},
    "one level": {"widths": (4, 4)},
    "four levels": {"widths": (3, 4, 5, 6), "norm": "batch"},
    "half": {"dtype": "bfloat16"},
}


@pytest.fixture(autouse=True)
def symbolic_sizes_are_not_checked_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shape checks of the tests don't know the sizes of a program for any size."""

    def unchecked(path: Path, model: Any) -> None:
        jaxtyping.config.update("jaxtyping_disable", True)
        try:
            write(path, model)
        finally:
            jaxtyping.config.update("jaxtyping_disable", False)

    write = FORMS["stablehlo"].write
    monkeypatch.setitem(FORMS, "stablehlo", FORMS["stablehlo"]._replace(write=unchecked))


def needs(form: str) -> None:
    for name in RUNTIMES[form]:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}, to run the export: pip install {name}")


def sizes(stride: int) -> list[tuple[int, int, int]]:
    return [(2, 4 * stride, 6 * stride), (1, 7 * stride, 3 * stride), (3, 5, 9) if stride == 1 else (3, stride, stride)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CASES)
def test_every_architecture_agrees_at_every_size(name: str, form: str, tmp_path: Path) -> None:
    needs(form)
    model = random_model(**CASES[name])
    path = tmp_path / NAMES[form]
    FORMS[form].write(path, model)
    ours, theirs = reference(model), FORMS[form].load(path, model)
    for size in sizes(model.model.stride):
        images = random_images(*size, model.description["channels"])
        agreement = compare(ours(images), theirs(images))
        assert agreement.good, agreement
        assert agreement.logit_error < 1e-5 * max(1, agreement.largest_logit)
        if size[1] * size[2] > 100:
            assert 0.05 < agreement.foreground / agreement.pixels < 0.95, "the masks show too little"


@pytest.fixture(scope="module")
def run(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return tiny_run(sample, tmp_path_factory.mktemp("runs") / "tiny")


@pytest.mark.parametrize("form", FORMS)
def test_the_command_proves_each_form(form: str, run: RunFolder, tmp_path: Path, capsys: Any) -> None:
    needs(form)
    main([str(run.path), str(tmp_path / "new" / NAMES[form])])
    told = capsys.readouterr().out
    assert "UNet of widths 4 8" in told
    assert "val2017; the largest errors" in told
    assert len(re.findall(r"\d+ x \d+ +[\d.e-]+ +[\d.e-]+ +([\d,]+) of \1, ", told)) == 2
    beside = {"unet_model.pth"} if form == "torch" else set()
    assert {path.name for path in (tmp_path / "new").iterdir()} == {NAMES[form]} | beside
    assert f"Done: {tmp_path / 'new' / NAMES[form]}" in told


def alone(code: str, folder: Path, *hidden: str) -> None:
    """Run code in a process of its own that has not the `hidden` packages."""
    guard = f"import sys\nfor name in {hidden!r}: sys.modules[name] = None\n"
    command = [sys.executable, "-I", "-W", "ignore", "-c", guard + code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


OURS = ("jaxseg", "flax", "optax", "orbax", "grain", "PIL", "pycocotools", "tyro")


def test_stablehlo_runs_by_its_own_readme_where_jaxseg_is_not(tmp_path: Path) -> None:
    model = random_model(norm="batch", out_channels=3)
    FORMS["stablehlo"].write(tmp_path / "unet.zip", model)
    images = random_images(2, 24, 36)
    np.save(tmp_path / "images.npy", images)
    with zipfile.ZipFile(tmp_path / "unet.zip") as archive:
        lines = archive.read("README.txt").decode().splitlines()
        assert json.loads(archive.read("model.json")) == model.description
        program = archive.read("program.bin")
    assert str(Path(jaxseg.__file__).parent).encode() not in program, "a path of this machine travels along"
    code = [line for line in lines if re.match(r"import|from|\w+(, \w+)? = ", line)]
    assert len(code) == 5
    saved = "np.save('masks.npy', probabilities.argmax(-1))"
    code = "\n".join([code[0], "images = np.load('images.npy')", *code[1:], saved])
    alone(code, tmp_path, *OURS, "torch", "onnxruntime")
    np.testing.assert_array_equal(np.load(tmp_path / "masks.npy"), reference(model)(images).masks)


def test_unet_py_needs_pytorch_alone(tmp_path: Path) -> None:
    needs("torch")
    model = random_model(norm="batch")
    FORMS["torch"].write(tmp_path / "unet.py", model)
    images = random_images(2, 24, 36)
    np.save(tmp_path / "images.npy", images)
    code = f"""
import sys; sys.path.insert(0, ".")
import numpy as np, torch, unet
network = unet.load_model("unet_model.pth")
assert not network.training
assert unet.CLASSES == {tuple(model.description["classes"])!r}
assert (unet.HEIGHT, unet.WIDTH, unet.CHANNELS, unet.THRESHOLD) == (16, 24, 3, 0.4)
assert abs(unet.SCALE * 255 - 1) < 1e-12
network.load_state_dict(torch.load("unet_model.pth", weights_only=True), strict=True)
np.save("masks.npy", unet.predict(network, torch.from_numpy(np.load("images.npy"))).numpy())
"""
    alone(code, tmp_path, *OURS, "jax", "onnxruntime")
    np.testing.assert_array_equal(np.load(tmp_path / "masks.npy"), reference(model)(images).masks)


@pytest.mark.parametrize("name", CASES)
def test_unet_py_has_the_state_dict_of_the_network_in_its_order(name: str, tmp_path: Path) -> None:
    needs("torch")
    model = random_model(**CASES[name])
    FORMS["torch"].write(tmp_path / "unet.py", model)
    space: dict[str, Any] = {"__name__": "unet"}
    text = (tmp_path / "unet.py").read_text()
    exec(compile(text, "unet.py", "exec"), space)
    theirs = space["UNet"]().state_dict()
    ours = to_state_dict(model.params, model.batch_stats)
    assert [(key, tuple(value.shape)) for key, value in theirs.items()] == [(k, v.shape) for k, v in ours.items()]
    assert max(map(len, text.splitlines())) <= 120


def test_class_names_are_no_code(tmp_path: Path) -> None:
    needs("torch")
    name = '"""; import os  # \\ \n {x} \'Straße\''
    model = random_model()
    model.description["classes"][1] = name
    FORMS["torch"].write(tmp_path / "unet.py", model)
    space: dict[str, Any] = {"__name__": "unet"}
    exec(compile((tmp_path / "unet.py").read_bytes(), "unet.py", "exec"), space)
    assert space["CLASSES"] == ("background", name)
    assert "os" not in space


def test_an_onnx_file_says_what_it_takes(tmp_path: Path) -> None:
    needs("onnx")
    import onnx

    model = random_model(out_channels=3)
    FORMS["onnx"].write(tmp_path / "unet.onnx", model)
    proto = onnx.load(tmp_path / "unet.onnx")
    onnx.checker.check_model(proto, full_check=True)
    texts = {prop.key: prop.value for prop in proto.metadata_props}
    assert json.loads(texts["model.json"]) == model.description
    assert "0..255 times `scale`" in texts["input"]
    shape = [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    assert shape == ["batch", 3, "height", "width"]
    state = to_state_dict(model.params, model.batch_stats)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert set(weights) == set(state)
    assert all((weights[name] == value).all() for name, value in state.items())


def test_safetensors_hold_pytorchs_names_and_the_description(tmp_path: Path) -> None:
    model = random_model(norm="batch")
    FORMS["safetensors"].write(tmp_path / "unet.safetensors", model)
    found = read_safetensors(tmp_path / "unet.safetensors")
    assert list(found.tensors) == list(to_state_dict(model.params, model.batch_stats))
    assert json.loads(found.metadata["model.json"]) == model.description
    assert found.metadata["format"] == "pt"


def swapped(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """As if a kernel had been transposed wrongly."""
    name = next(name for name, value in state.items() if value.ndim == 4)
    return {**state, name: np.ascontiguousarray(state[name][..., ::-1])}


@pytest.mark.parametrize("form", ["onnx", "safetensors", "torch"])
def test_a_wrong_export_is_refused_and_leaves_nothing(
    form: str, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    needs(form)
    written = []

    def wrong(*args: Any) -> dict[str, np.ndarray]:
        written.append(True)  # only what is written is wrong, not what it is compared with
        state = to_state_dict(*args)
        return swapped(state) if len(written) == 1 else state

    monkeypatch.setattr(export, "to_state_dict", wrong)
    (tmp_path / NAMES[form]).write_text("before")
    with pytest.raises(SystemExit, match="2"):
        main([str(run.path), str(tmp_path / NAMES[form])])
    assert re.search("nothing was written|does not hold the weights", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[form]]
    assert (tmp_path / NAMES[form]).read_text() == "before"


def test_a_wrong_program_is_refused(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(path: Path, model: Any) -> None:
        write(path, model._replace(description={**model.description, "scale": 1 / 256}))

    write = FORMS["stablehlo"].write
    monkeypatch.setitem(FORMS, "stablehlo", FORMS["stablehlo"]._replace(write=other))
    with pytest.raises(jaxseg.InputError, match="does not give the masks"):
        export_model(run.path, tmp_path / "unet.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_threshold_is_seen_in_the_masks() -> None:
    model = random_model()
    ours = reference(model)(random_images(2, 24, 36))
    theirs = ours._replace(masks=masks_of(ours.probabilities, {**model.description, "threshold": 0.6}))
    agreement = compare(ours, theirs)
    assert agreement.logit_error == 0
    assert agreement.differing > 10
    assert not agreement.good
    assert compare(ours, ours).good
    assert not compare(ours, ours._replace(logits=ours.logits * np.float32(np.nan))).good


@pytest.mark.parametrize(("form", "missing"), [("onnx", "onnxruntime"), ("torch", "torch"), ("safetensors", "torch")])
def test_without_its_runtime_an_export_is_said_to_be_unproven(
    form: str, missing: str, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    if form == "onnx":
        needs(form)
    monkeypatch.setitem(sys.modules, missing, None)
    assert export_model(run.path, tmp_path / NAMES[form]) == ()
    assert f"Unproven: {missing} is not installed" in capsys.readouterr().out
    assert (tmp_path / NAMES[form]).exists()


def test_without_onnx_it_says_what_to_install(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(jaxseg.InputError, match=r"pip install 'jaxseg\[onnx\]'"):
        export_model(run.path, tmp_path / "unet.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("unet.pth", "jaxseg.convert"), ("unet.tflite", "does not say what to write"), ("my-net.py", "Python identifier")],
)
def test_a_name_that_can_not_be_is_told(name: str, message: str, run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(jaxseg.InputError, match=message):
        export_model(run.path, tmp_path / name)


def test_the_form_can_be_named(run: RunFolder, tmp_path: Path) -> None:
    export_model(run.path, tmp_path / "weights", format="stablehlo", checkpoint="latest")
    assert zipfile.is_zipfile(tmp_path / "weights")


def test_photographs_are_the_runs_or_else_the_samples(
    run: RunFolder, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    model = load_model(run.path)
    images, source = photographs(run, model)
    assert images.shape[1:] == (32, 48, 3)
    assert str(sample) in source
    config = json.loads(run.config.read_text())
    config["config"]["data"]["root"] = str(tmp_path / "gone")
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("jaxseg.data.samples.sample_root", lambda: sample)
    assert photographs(RunFolder(tmp_path), model)[0].shape[1:] == (32, 48, 3)
    assert "own photographs are not at hand" in capsys.readouterr().out


def test_real_photographs(coco_dev: Path, run: RunFolder, tmp_path: Path) -> None:
    needs("onnx")
    config = json.loads(run.config.read_text())
    config["config"]["data"] |= {"root": str(coco_dev)}
    model = load_model(run.path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    images, source = photographs(RunFolder(tmp_path), model)
    assert "coco-dev" in source
    ours, theirs = random_model(norm="batch"), tmp_path / "unet.onnx"
    FORMS["onnx"].write(theirs, ours)
    agreement = compare(reference(ours)(images), FORMS["onnx"].load(theirs, ours)(images))
    assert agreement.good
    assert agreement.differing == 0
