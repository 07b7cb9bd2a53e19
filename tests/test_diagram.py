"""The architecture picture says what the model is, and no text hides anything."""

from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from PIL import Image

from jaxseg import diagram
from jaxseg.diagram import save_architecture

UNET: dict[str, Any] = {
    "widths": (64, 128, 256, 512, 1024),
    "in_channels": 3,
    "out_channels": 1,
    "height": 224,
    "width": 224,
    "norm": "none",
    "activation": "ReLU",
    "parameters": 31_031_745,
}


def drawn(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Figure:
    figures: list[Figure] = []
    monkeypatch.setattr(diagram, "write_figure", lambda path, figure: figures.append(figure))
    save_architecture("unused.png", **UNET | changes)
    FigureCanvasAgg(figures[0])
    return figures[0]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_picture_is_a_file_of_sensible_size(tmp_path: Path) -> None:
    save_architecture(tmp_path / "docs" / "unet.png", **UNET)
    with Image.open(tmp_path / "docs" / "unet.png") as picture:
        picture.verify()
        assert 1500 < picture.size[1] < picture.size[0] < 5000


def test_it_says_what_the_model_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = words(drawn(monkeypatch))
    assert "U-Net, 31,031,745 parameters" in found
    assert "image\n224×224×3" in found
    assert "logits\n224×224×1" in found
    shapes = [text for text in found if "×" in text and text[0].isdigit()]
    levels = ["224×224×64", "112×112×128", "56×56×256", "28×28×512"]
    assert shapes == [*levels, "14×14×1024", *reversed(levels)]
    numbers = [int(text) for text in found if text.isdigit()]
    down = [3, 64, 64, 64, 128, 128, 128, 256, 256, 256, 512, 512, 512, 1024, 1024]
    up = [1024, 512, 512, 512, 256, 256, 256, 128, 128, 128, 64, 64]
    assert numbers == [*down, *up, 1]
    assert "conv 3×3, ReLU" in found
    assert "conv 3×3, batch norm, ReLU" in words(drawn(monkeypatch, norm="batch"))
    assert "conv 3×3, group norm, LeakyReLU" in words(drawn(monkeypatch, norm="group", activation="LeakyReLU"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"widths": (8, 16)},
        {"widths": (8, 16), "height": 8, "width": 512},
        {"widths": (8, 16, 32), "norm": "batch"},
        {"widths": (64, 64, 64, 64)},
        {"widths": (8, 32, 128, 512, 1024), "out_channels": 255},
        {"widths": (32, 64, 128, 256, 512, 1024), "height": 1024, "width": 2048, "out_channels": 91},
        {"widths": (1024, 1024, 1024), "height": 96, "width": 160, "in_channels": 1},
        {"widths": (16, 32, 64, 128, 256, 512), "height": 2048, "width": 32, "norm": "batch"},
    ],
)
def test_nothing_overlaps(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    figure = drawn(monkeypatch, **changes)
    page = figure.bbox
    texts = [(text.get_text(), text.get_window_extent()) for text in figure.axes[0].texts]
    patches = [(isinstance(patch, Polygon), patch.get_window_extent()) for patch in figure.axes[0].patches]
    for (one, box), (other, another) in combinations(texts, 2):
        assert not box.overlaps(another), f"{one} and {other}"
    for text, box in texts:
        assert page.x0 < box.x0 < box.x1 < page.x1, f"{text} leaves the page"
        assert page.y0 < box.y0 < box.y1 < page.y1, f"{text} leaves the page"
        assert not any(box.overlaps(patch) for _, patch in patches), f"{text} is not clear"
    slabs = [box for is_slab, box in patches if is_slab]
    for arrow in [box for is_slab, box in patches if not is_slab]:
        assert not any(arrow.overlaps(slab) for slab in slabs), "an arrow runs into a slab"


def test_slabs_grow_with_pixels_and_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    down, up = diagram._layout((16, 32, 64), 3, 96, 160)
    encoder = [block.second for block in down]
    assert [slab.width for slab in encoder] == sorted(slab.width for slab in encoder)
    assert [slab.height for slab in encoder] == sorted((slab.height for slab in encoder), reverse=True)
    tall = diagram._layout((16, 32, 64), 3, 160, 96)[0][0].first
    assert tall.height > down[0].first.height
    assert tall.depth < down[0].first.depth
    assert [block.second.bottom for block in up] == [down[1].second.bottom, down[0].second.bottom]


def test_what_no_model_can_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected two or more"):
        save_architecture(tmp_path / "unet.png", **UNET | {"widths": (64,)})
    with pytest.raises(ValueError, match="4 poolings need multiples of 16"):
        save_architecture(tmp_path / "unet.png", **UNET | {"height": 200})
    assert not list(tmp_path.iterdir())
