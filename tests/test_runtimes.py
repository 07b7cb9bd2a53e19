"""Exports give jaxseg's masks where jaxseg is not: in StableHLO, ONNX and PyTorch, at any batch and size."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained import NAMES, needs, random_images, random_model, unchecked_sizes  # noqa: F401  a fixture

import jaxseg
from jaxseg.agreement import compare, masks_of, reference
from jaxseg.export import FORMS
from jaxseg.tensors_file import read_safetensors
from jaxseg.torch_weights import to_state_dict

pytestmark = pytest.mark.usefixtures("unchecked_sizes")
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
    "group norm, GELU": {"norm": "group", "groups": 2, "epsilon": 1e-3, "activation": "gelu", "pad": True},
    "residual": {"residual": True, "norm": "batch", "widths": (3, 4, 4)},
    "residual, no biases": {"residual": True, "norm": "group", "groups": 2, "bias": False, "up": "bilinear"},
}


def sizes(stride: int) -> list[tuple[int, int, int]]:
    if stride == 1:
        return [(2, 17, 25), (1, 13, 7), (3, 5, 9)]
    return [(2, 4 * stride, 6 * stride), (1, 7 * stride, 3 * stride), (3, stride, stride)]


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


@pytest.mark.parametrize("activation", ["leaky_relu", "elu", "silu"])
def test_activations_are_written_out(activation: str, tmp_path: Path) -> None:
    model = random_model(widths=(4, 6), activation=activation)
    ours, images = reference(model), random_images(2, 8, 12)
    for form in ("onnx", "torch"):
        needs(form)
        FORMS[form].write(tmp_path / NAMES[form], model)
        agreement = compare(ours(images), FORMS[form].load(tmp_path / NAMES[form], model)(images))
        assert agreement.logit_error < 1e-5 * max(1, agreement.largest_logit), form


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
    ours = to_state_dict(**model.variables)
    assert [(key, tuple(value.shape)) for key, value in theirs.items()] == [(k, v.shape) for k, v in ours.items()]
    assert max(map(len, text.splitlines())) <= 120


def test_class_names_are_no_code(tmp_path: Path) -> None:
    needs("torch")
    name = '"""; import os  # \\ \n {x} \'Straße\''
    model = random_model()
    model = model._replace(description={**model.description, "classes": ["background", name]})
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
    state = to_state_dict(**model.variables)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert set(weights) == set(state)
    assert all((weights[name] == value).all() for name, value in state.items())


def test_safetensors_hold_pytorchs_names_and_the_description(tmp_path: Path) -> None:
    model = random_model(norm="batch")
    FORMS["safetensors"].write(tmp_path / "unet.safetensors", model)
    found = read_safetensors(tmp_path / "unet.safetensors")
    assert list(found.tensors) == list(to_state_dict(**model.variables))
    assert json.loads(found.metadata["model.json"]) == model.description
    assert found.metadata["format"] == "pt"


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


def test_real_photographs(coco_dev: Path, tmp_path: Path) -> None:
    needs("onnx")
    data = jaxseg.Data(root=coco_dev, height=96, width=128)
    samples = jaxseg.open_split(data, "val")
    images = np.stack([samples[place]["image"] for place in range(6)])
    model = random_model(norm="batch")
    FORMS["onnx"].write(tmp_path / "unet.onnx", model)
    agreement = compare(reference(model)(images), FORMS["onnx"].load(tmp_path / "unet.onnx", model)(images))
    assert agreement.good
    assert agreement.differing == 0
    assert 0.05 < agreement.foreground / agreement.pixels < 0.95
