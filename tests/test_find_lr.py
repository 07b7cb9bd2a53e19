"""The learning rate finder trains as the run would, but for the rate."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from test_train import small

import jaxseg
from jaxseg.data.loader import train_batches
from jaxseg.find_lr import find_lr, main
from jaxseg.loop import compile_steps
from jaxseg.plan import fitted
from jaxseg.sharding import data_parallel


@pytest.mark.parametrize(("accumulate", "clip_norm"), [(1, None), (2, 0.01)])
def test_its_losses_are_those_of_a_training_at_those_rates(
    sample: Path, accumulate: int, clip_norm: float | None
) -> None:
    """Plain descent: the second loss follows the first update."""
    config = small(sample, schedule=jaxseg.Cosine(), accumulate=accumulate, clip_norm=clip_norm)
    config = dataclasses.replace(config, optimizer=jaxseg.SGD(9.0, momentum=0.0))
    found = find_lr(config, low=0.1, high=10.0, updates=20)
    assert found.rates.tolist() == pytest.approx([0.1 * 100 ** (n / 19) for n in range(len(found.rates))])
    config = fitted(config, jaxseg.open_split(config.data, "train"))
    config = dataclasses.replace(config, optimizer=jaxseg.SGD(0.1, momentum=0.0), schedule=jaxseg.Constant())
    losses, layout = [], data_parallel(config.batch_size)
    compiled = compile_steps(config, layout)
    state = compiled.create(jax.random.key(config.seed))
    with train_batches(jaxseg.open_split(config.data, "train"), config.batch_size, seed=config.seed) as batches:
        for _ in range(2 * accumulate):
            state, result = compiled.train(state, layout.put(next(batches).batch))
            losses.append(float(result.loss))
    assert found.losses[:2].tolist() == pytest.approx(np.reshape(losses, (2, -1)).mean(1), rel=1e-5)


def test_it_ends_where_training_is_lost(sample: Path) -> None:
    found = find_lr(small(sample, optimizer=jaxseg.SGD(1.0)), low=1.0, high=1e12, updates=24)
    assert found.diverged
    assert len(found.losses) == len(found.rates) < 24


def test_the_command_leaves_a_plot_and_numbers(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "small.py"
    file.write_text(
        "import pathlib\nimport jaxseg\nconfig = jaxseg.Config(data=jaxseg.Data("
        f"root=pathlib.Path({str(sample)!r}), classes=('laptop', 'tv', 'cell phone'), height=32, width=48), "
        "batch_size=4, model=jaxseg.UNet(widths=(4, 8), norm='batch'), accumulate=2, ema=0.9)\n"
    )
    main(["--config", str(file), "--out", str(tmp_path / "found"), "--updates", "24", "--low", "1e-4"])
    said, content = capsys.readouterr().out, json.loads((tmp_path / "found" / "learning_rate.json").read_text())
    assert content["why"] in said
    assert len(content["rates"]) == len(content["losses"]) == len(content["smoothed"]) <= 24
    with Image.open(tmp_path / "found" / "learning_rate.png") as picture:
        assert min(picture.size) > 500


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"low": 0.0}, "expected rates above 0, the first lower"),
        ({"low": 1.0, "high": 0.1}, "--low 1 --high 0.1"),
        ({"high": float("inf")}, "expected rates above 0"),
        ({"updates": 3}, "--updates 3: fewer than 20"),
    ],
)
def test_rates_that_can_not_be(sample: Path, settings: dict, text: str) -> None:
    with pytest.raises(jaxseg.InputError, match=text):
        find_lr(small(sample), **settings)
