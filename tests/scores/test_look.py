"""An image of an evaluation, shown with its errors."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxseg.arrays import VOID
from jaxseg.pictures import VOID_SHADES, error_map
from jaxseg.scores.look import GAP, SHOWN, Look


def look_of(height: int, width: int, channels: int = 3) -> Look:
    rng = np.random.default_rng(height)
    image = rng.integers(0, 256, (height, width, channels), np.uint8)
    truth, prediction = (rng.choice(np.array([0, 1, last], np.uint8), (height, width)) for last in (VOID, 1))
    return Look(image, truth, prediction, np.zeros((height, width, 1), np.float32))


@pytest.mark.parametrize("channels", [1, 3])
def test_at_its_own_size_it_is_the_picture_and_the_error_map(channels: int) -> None:
    look = look_of(40, 60, channels)
    both = look.errors_beside(60)
    np.testing.assert_array_equal(both[:, :60], np.broadcast_to(look.image, (40, 60, 3)))
    assert (both[:, 60 : 60 + GAP] == 255).all()
    np.testing.assert_array_equal(both[:, 60 + GAP :], error_map(look.image, look.truth, look.prediction))


@pytest.mark.parametrize("size", [(40, 60), (600, 30), (1, 900), (400, 400)])
def test_a_notebook_shows_it_at_a_size_to_look_at(size: tuple[int, int]) -> None:
    shown = Image.open(io.BytesIO(look_of(*size)._repr_png_()))
    width, height = (shown.width - GAP) / 2, shown.height
    assert max(width, height) == SHOWN
    assert abs(width - max(1, size[1] * SHOWN / max(size))) <= 0.5
    assert abs(height - max(1, size[0] * SHOWN / max(size))) <= 0.5


def test_masks_are_enlarged_without_new_classes() -> None:
    """Every colour of the enlarged error map is one of the small one's, or void's, over a plain picture."""
    truth = np.eye(8, 12, dtype=np.uint8) * np.uint8(VOID)
    look = look_of(8, 12)._replace(image=np.full((8, 12, 3), 99, np.uint8), truth=truth)
    small = error_map(look.image, look.truth, look.prediction).reshape(-1, 3)
    large = look.errors_beside(120)[:, 120 + GAP :].reshape(-1, 3)
    void = {(shade,) * 3 for shade in VOID_SHADES}
    assert set(map(tuple, large.tolist())) <= set(map(tuple, small.tolist())) | void
