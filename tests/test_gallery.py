"""The picture of augmentations shows each of them, weak to strong."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_train import small

import jaxseg
from jaxseg.augment import Augment
from jaxseg.augment.settings import HOW
from jaxseg.augment.strengths import ON_OFF, STRENGTHS
from jaxseg.gallery import batch_of, row_of
from jaxseg.visualize import main


def test_every_augmentation_has_its_strengths() -> None:
    settings = {field.name for field in dataclasses.fields(Augment)} - set(HOW)
    assert settings == set(STRENGTHS)
    for name, strengths in STRENGTHS.items():
        assert all(Augment(**{name: strength}).changes for strength in strengths)
        assert name in ON_OFF or len(set(strengths)) == 3


@pytest.mark.parametrize("name", ["brightness", "rotate", "copy_paste"])
def test_a_row_is_the_original_and_three_changes(sample: Path, name: str) -> None:
    samples = jaxseg.open_split(small(sample).data, "train")
    images, masks = batch_of(samples, 0)
    assert images.shape == (4, 32, 48, 3)
    original, *changed = row_of(name, [Augment(**{name: value}) for value in STRENGTHS[name]], images, masks)
    assert np.array_equal(original.image, images[0])
    assert np.array_equal(original.mask, masks[0])
    assert [shown.caption.split(":")[0] for shown in (original, *changed)] == [name] * 4
    away = [np.abs(shown.image.astype(int) - images[0]).mean() for shown in changed]
    if name == "copy_paste":
        assert len({shown.image.tobytes() for shown in changed}) > 1
        assert all((shown.mask == 1)[masks[0] == 1].all() for shown in changed)
    else:
        assert 0 < away[0] < away[1] < away[2]
        assert all((shown.mask != masks[0]).any() for shown in changed) == (name == "rotate")


def test_the_command_draws_the_config_s_own_too(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("jaxseg.gallery.STRENGTHS", {name: STRENGTHS[name] for name in ("flip", "rotate90")})
    file = tmp_path / "small.py"
    file.write_text(
        "import pathlib\nimport jaxseg\nconfig = jaxseg.Config(data=jaxseg.Data("
        f"root=pathlib.Path({str(sample)!r}), classes=('tv',), height=32, width=48), "
        "augment=jaxseg.Augment(flip=0.5))\n"
    )
    main(["--config", str(file), "--augmentations", "--out", str(tmp_path / "out")])
    assert "2 rows of original, weak, medium, strong" in capsys.readouterr().out  # no right angles: it is no square
    with Image.open(tmp_path / "out" / "augmentations.png") as picture:
        assert picture.width > 6 * picture.height / 2
