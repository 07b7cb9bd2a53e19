"""The export command: what it proves, what it refuses, what it says."""

import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained import NAMES, needs, unchecked_sizes  # noqa: F401  a fixture

import jaxseg
from jaxseg import export
from jaxseg.export import FORMS, export_model, main, photographs
from jaxseg.run import RunFolder
from jaxseg.torch_weights import to_state_dict
from jaxseg.weights import read_weights

pytestmark = pytest.mark.usefixtures("unchecked_sizes")


@pytest.fixture(scope="module")
def run(tiny: RunFolder) -> RunFolder:
    return tiny


@pytest.mark.parametrize("form", FORMS)
def test_the_command_proves_each_form(form: str, run: RunFolder, tmp_path: Path, capsys: Any) -> None:
    needs(form)
    main([str(run.path), str(tmp_path / "new" / NAMES[form])])
    told = capsys.readouterr().out
    assert "UNet of widths 4 8" in told
    assert "val2017; the largest errors" in told
    assert len(re.findall(r"\d+ x \d+ +[\d.e+-]+ +[\d.e+-]+ +([\d,]+) of \1, ", told)) == 2
    beside = {"unet_model.pth"} if form == "torch" else set()
    assert {path.name for path in (tmp_path / "new").iterdir()} == {NAMES[form]} | beside
    assert f"Done: {tmp_path / 'new' / NAMES[form]}" in told


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

    def wrong(**trees: Any) -> dict[str, np.ndarray]:
        written.append(True)  # only what is written is wrong, not what it is compared with
        state = to_state_dict(**trees)
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
    model = read_weights(run.path)
    images, source = photographs(run, model)
    assert images.shape[1:] == (32, 48, 3)
    assert str(sample) in source
    config = json.loads(run.config.read_text())
    config["config"]["data"]["root"] = str(tmp_path / "gone")
    (tmp_path / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("jaxseg.data.splits.sample_root", lambda: sample)
    assert photographs(RunFolder(tmp_path), model)[0].shape[1:] == (32, 48, 3)
    assert "own photographs are not at hand" in capsys.readouterr().out
