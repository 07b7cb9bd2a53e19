"""One model gives the same probabilities whatever it is loaded from; what disagrees is refused."""

import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.monitoring
import numpy as np
import pytest
from trained import NAMES, needs, random_images, random_model, unchecked_sizes  # noqa: F401  a fixture

import jaxseg
from jaxseg.agreement import reference
from jaxseg.convert import convert
from jaxseg.export import FORMS
from jaxseg.foreign import Foreign
from jaxseg.loading import load
from jaxseg.predictor import Predictor
from jaxseg.pth import write_pth
from jaxseg.run import RunFolder
from jaxseg.weights import Weights, write_weights

pytestmark = pytest.mark.usefixtures("unchecked_sizes")


@pytest.fixture(scope="module")
def run(tiny: RunFolder) -> RunFolder:
    return tiny


def converted(run: RunFolder, folder: Path, name: str) -> Path:
    convert(run.path, folder / name)
    return folder / name


SOURCES = {
    "a checkpoint": lambda run, tmp: max(run.checkpoints.glob("[0-9]*"), key=lambda path: int(path.name)),
    "its .pth": lambda run, tmp: run.final_weights,
    "a .pth elsewhere": lambda run, tmp: converted(run, tmp, "model.pth"),
    "a .safetensors": lambda run, tmp: converted(run, tmp, "model.safetensors"),
    "a converted folder": lambda run, tmp: converted(run, tmp, "folder"),
    "an exported .safetensors": lambda run, tmp: exported(run, tmp, "safetensors"),
    "an exported program": lambda run, tmp: exported(run, tmp, "stablehlo"),
}


def exported(run: RunFolder, folder: Path, form: str) -> Path:
    needs(form)
    jaxseg.export.export_model(run.path, folder / NAMES[form])
    return folder / NAMES[form]


@pytest.mark.parametrize("source", SOURCES)
def test_it_is_the_runs_model_whatever_it_is_loaded_from(source: str, run: RunFolder, tmp_path: Path) -> None:
    images = random_images(2, 32, 48)
    best = load(run.path)
    same = load(run.path, "latest") if source in ("its .pth", "a checkpoint") else best
    found = load(SOURCES[source](run, tmp_path))
    assert found.description == same.description
    # An exported program does not know its sizes, and so convolves the image in XLA's own way: it rounds otherwise.
    rounding = 2e-7 if source == "an exported program" else 0
    np.testing.assert_allclose(found.probabilities(images), same.probabilities(images), rtol=0, atol=rounding)
    assert (found.height, found.width, found.channels, found.stride) == (32, 48, 3, 2)
    assert (found.mode, found.resize, found.threshold) == ("binary", "stretch", same.description["threshold"])
    assert found.classes == ("background", "laptop + tv + cell phone")


@pytest.mark.parametrize("settings", [{}, {"out_channels": 3, "norm": "batch"}, {"channels": 1, "pad": True}])
def test_probabilities_are_the_networks(settings: dict[str, Any], tmp_path: Path) -> None:
    model = random_model(**settings)
    write_weights(tmp_path / "folder", model)
    found = load(str(tmp_path / "folder"))
    images = random_images(3, 16, 24, model.description["channels"])
    expected = reference(model)(images).probabilities
    probabilities = found.probabilities(images)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, atol=2e-6)
    assert found.classes == tuple(model.description["classes"])


def test_any_number_of_devices_gives_the_same(run: RunFolder) -> None:
    images, model = random_images(8, 32, 48), load(run.path)
    alone = np.concatenate([model.probabilities(image[None]) for image in images])
    for batch in (1, 2, 3, 8):
        np.testing.assert_allclose(model.probabilities(images[:batch]), alone[:batch], atol=1e-6)
    assert jax.local_device_count() == 8, "the tests' fake devices"
    assert set(model._copies) == {1, 2, 3, 8}


def test_a_program_runs_on_many_devices(tmp_path: Path) -> None:
    network = random_model(out_channels=3)
    FORMS["stablehlo"].write(tmp_path / "unet.zip", network)
    images = random_images(8, 16, 24)
    found = load(tmp_path / "unet.zip").probabilities(images)
    np.testing.assert_allclose(found, reference(network)(images).probabilities, atol=2e-6)


def test_a_shape_compiles_once(run: RunFolder, compilations: list[str]) -> None:
    model = load(run.path)
    model.probabilities(random_images(2, 32, 48))
    before = len(compilations)
    for _ in range(3):
        model.probabilities(random_images(2, 32, 48))
    assert len(compilations) == before
    model.probabilities(random_images(2, 32, 32))
    assert len(compilations) > before, "the listener hears nothing"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 31, 48, 3), r"31 x 48 \(height x width\), expected multiples of 2"),
        ((1, 32, 48, 1), "1 channels, expected 3"),
    ],
)
def test_images_that_do_not_fit_are_told(shape: tuple[int, ...], message: str, run: RunFolder) -> None:
    with pytest.raises(jaxseg.InputError, match=message):
        load(run.path).probabilities(random_images(*shape))


def test_of_a_bare_pth_it_says_what_is_assumed_and_asks_for_the_size(tmp_path: Path) -> None:
    network = random_model()
    write_pth(tmp_path / "bare.pth", network.state_dict)
    model = load(tmp_path / "bare.pth")
    assert any("assumed: images are scaled to 0..1" in note for note in model.notes)
    assert model.classes == ("background", "foreground")
    images = random_images(1, 16, 16)
    np.testing.assert_allclose(model.probabilities(images), reference(network)(images).probabilities, atol=2e-6)
    with pytest.raises(jaxseg.InputError, match=r"size of images .* is not known.*jaxseg\.convert .*--height"):
        _ = model.height
    told = load(tmp_path / "bare.pth", foreign=Foreign(height=64, width=32, classes=("crack",)))
    assert (told.height, told.width, told.classes) == (64, 32, ("background", "crack"))


def broken(path: Path, change: dict[str, Any] | None = None, **replaced: bytes) -> Path:
    """A copy of a program with another description or other contents."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    if change:
        contents["model.json"] = json.dumps({**json.loads(contents["model.json"]), **change}).encode()
    with zipfile.ZipFile(path.with_name("broken.zip"), "w") as archive:
        for name, content in {**contents, **{key.replace("_", "."): value for key, value in replaced.items()}}.items():
            archive.writestr(name, content)
    return path.with_name("broken.zip")


def test_a_program_that_disagrees_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "unet.zip"
    FORMS["stablehlo"].write(path, random_model())
    cases: list[tuple[dict[str, Any], str]] = [
        ({"classes": ["background"]}, "classes should be names"),
        ({"channels": 1}, r"takes 3 channels, its model\.json says 1"),
        (random_model(out_channels=3).description, "1 outputs, but 3 classes in multiclass mode"),
    ]
    for change, message in cases:
        with pytest.raises(jaxseg.InputError, match=message):
            load(broken(path, change))
    with pytest.raises(jaxseg.InputError, match="is no program"):
        load(broken(path, program_bin=b"nothing"))
    (tmp_path / "other.zip").write_bytes(b"PK nothing")
    with pytest.raises(jaxseg.InputError, match="is no program"):
        load(tmp_path / "other.zip")
    with pytest.raises(jaxseg.InputError, match="no such file"):
        load(tmp_path / "missing.zip")


def test_a_class_table_that_disagrees_is_refused_in_every_file(tmp_path: Path) -> None:
    for name in ("model.pth", "model.safetensors", "folder"):
        write_weights(tmp_path / name, random_model())
        beside = tmp_path / "folder" / "model.json" if name == "folder" else tmp_path / f"{name}.json"
        content = json.loads(beside.read_text())
        beside.write_text(json.dumps({**content, "mode": "multiclass"}))
        with pytest.raises(jaxseg.InputError, match="1 outputs, but 2 classes in multiclass mode"):
            load(tmp_path / name)


def test_it_is_public() -> None:
    assert jaxseg.load is load
    assert jaxseg.Predictor is Predictor
    assert jaxseg.Weights is Weights
