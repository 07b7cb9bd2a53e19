"""Configs: files, overrides, JSON, and what is said of mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import jaxseg
from jaxseg.config import Arguments, Config, differences, from_json, load_config, parse, to_json
from jaxseg.errors import InputError, told_plainly

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.py")), ids=lambda p: p.stem)
def test_every_experiment_survives_json(path: Path) -> None:
    config = load_config(path)
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


def test_the_assignment_is_the_original_recipe() -> None:
    config = load_config(EXPERIMENTS / "unet.py")
    assert config.data.classes == ("laptop", "tv", "cell phone")
    assert (config.data.height, config.data.width, config.data.mode) == (224, 224, "binary")
    assert (config.batch_size, config.epochs, config.optimizer.learning_rate) == (2, 10, 1e-4)
    assert (config.model.widths, config.model.norm) == ((64, 128, 256, 512, 1024), "none")
    assert (config.data.overlap, config.data.crowds, config.data.unknown_category) == (
        "max_index",
        "foreground",
        "background",
    )


def test_paths_and_nothing_survive_json() -> None:
    config = Config(data=jaxseg.Data(root=Path("/a b"), classes=None), patience=None)
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


def test_merged_classes_survive_json_and_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, "import jaxseg\nconfig = jaxseg.Config(jaxseg.Data(merge=(('pet', 'cat', 'dog'),)))\n")
    words = ["--config", str(path), "--data.merge", "road", "car", "toy car", "--data.merge", "x", "bus"]
    settings = parse(Arguments, "test", [*words, "--data.classes", "pet", "road", "x"]).settings
    assert settings.data.merge == (("pet", "cat", "dog"), ("road", "car", "toy car"), ("x", "bus"))
    assert settings.data.classes == ("pet", "road", "x")
    assert from_json(json.loads(json.dumps(to_json(settings)))) == settings


def test_json_builds_only_our_classes() -> None:
    with pytest.raises(InputError, match="found 'Popen'"):
        from_json({"class": "Popen", "args": ["touch", "x"]})
    with pytest.raises(InputError, match="Config has no setting warp"):
        from_json({"class": "Config", "warp": 9})


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "import jaxseg\nconfig = jaxseg.Config(epochs=7, batch_size=4)\n")
    words = ["--config", str(path), "--batch-size", "8", "--data.root", "/x", "--model.widths", "4", "8"]
    settings = parse(Arguments, "test", [*words, "--data.classes", "cat", "dog", "--data.no-cache"][:-1]).settings
    assert (settings.epochs, settings.batch_size, settings.data.root) == (7, 8, Path("/x"))
    assert (settings.model.widths, settings.data.classes) == ((4, 8), ("cat", "dog"))


def test_an_unknown_flag_ends_with_status_2_and_the_nearest(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(Arguments, "test", ["--config", str(EXPERIMENTS / "unet.py"), "--data.roots", "/x"])
    assert stop.value.code == 2
    assert "--data.root" in capsys.readouterr().err


def test_no_config_says_what_to_give() -> None:
    with pytest.raises(InputError, match=r"--config FILE\.py"):
        parse(Arguments, "test", [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "defines no `config`"),
        ("config = {'epochs': 3}\n", "defines `config` as a dict"),
        ("import jaxseg\nconfig = jaxseg.Config(epoch=3)\n", "unexpected keyword argument 'epoch'"),
        ("import jaxseg\nconfig = (\n", "SyntaxError"),
    ],
)
def test_a_faulty_file_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        load_config(write(tmp_path, text))
    assert message in str(error.value)
    assert "mine.py" in str(error.value)


def test_a_failing_file_shows_its_own_lines_alone(tmp_path: Path) -> None:
    path = write(tmp_path, "def f():\n    return {}['missing']\n\nf()\n")
    with pytest.raises(InputError) as error:
        load_config(path)
    text = str(error.value)
    assert "line 2, in f" in text
    assert "KeyError: 'missing'" in text
    assert "runpy" not in text
    assert "config.py" not in text


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere\.py: no such file"):
        load_config(Path("nowhere.py"))


def test_differences_name_each_setting() -> None:
    a, b = to_json(Config(epochs=3)), to_json(Config(epochs=4, data=jaxseg.Data(height=32)))
    assert differences(a, b) == {"epochs": (3, 4), "data.height": (224, 32)}
    assert differences(a, a) == {}


def test_a_mistake_is_one_line_and_status_2(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop, told_plainly():
        raise InputError("batch_size 3 is wrong")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: batch_size 3 is wrong\n"


def test_importing_jaxseg_is_quick_and_loads_no_jax() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import jaxseg; s = time.perf_counter() - t; "
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules; print(s)"
    )
    seconds = float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert seconds < 0.2


def test_every_public_name_is_there() -> None:
    for name in jaxseg.__all__:
        assert getattr(jaxseg, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Unet'"):
        _ = jaxseg.Unet
