"""Any picture becomes what the network sees: whatever it is given as, and turned as it is shown."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import jaxseg
from jaxseg.data.geometry import place
from jaxseg.data.images import read_image
from jaxseg.predicting.photograph import decoded, in_frame, rows_of, shrunk, size_of

TARGET = (32, 48)


def picture(height: int = 90, width: int = 131) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    array = np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 256], axis=-1)
    return Image.fromarray(array.astype(np.uint8))


def with_orientation(path: Path, turned: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = turned
    picture().save(path, exif=exif, quality=95)
    return path


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_file_is_seen_just_as_in_training(resize: str, ending: str, tmp_path: Path) -> None:
    path = with_orientation(tmp_path / f"a.{ending}", 6)
    frame, placement = in_frame(path, TARGET, channels=3, resize=resize, orientation="stored")
    assert placement == place((90, 131), TARGET, resize)
    np.testing.assert_array_equal(frame, read_image(path, placement=placement, channels=3))


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_it_is_turned_as_pillow_turns_it(turned: int, resize: str, tmp_path: Path) -> None:
    path = with_orientation(tmp_path / "a.png", turned)
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
    full = (upright.height, upright.width)
    assert size_of(path, "shown") == full
    frame, placement = in_frame(path, TARGET, channels=3, resize=resize, orientation="shown")
    expected, _ = in_frame(np.asarray(upright), TARGET, channels=3, resize=resize, orientation="shown")
    assert placement == place(full, TARGET, resize)
    np.testing.assert_allclose(frame.astype(int), expected, atol=2)  # of scaling first and turning then
    np.testing.assert_array_equal(decoded(path, channels=3, orientation="shown"), upright)
    np.testing.assert_array_equal(shrunk(path, 500, orientation="shown"), upright)
    assert shrunk(path, 50, orientation="shown").shape == (
        50 if full[0] > full[1] else 34,
        34 if full[0] > full[1] else 50,
        3,
    )


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
@pytest.mark.parametrize("exif", [b"Exif\0\0nothing like it", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0MM"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
def test_with_broken_exif_it_is_as_it_is_stored(exif: bytes, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    picture().save(path, exif=exif)
    stored, shown = (decoded(path, channels=3, orientation=orientation) for orientation in ("stored", "shown"))
    np.testing.assert_array_equal(stored, shown)


def test_what_is_looked_at_is_no_longer_than_asked() -> None:
    for longest, size in ((500, (90, 131)), (131, (90, 131)), (100, (69, 100)), (1, (1, 1))):
        assert shrunk(picture(), longest, orientation="shown").shape == (*size, 3)


def test_a_path_a_picture_and_an_array_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    arguments = {"channels": 3, "resize": "letterbox", "orientation": "shown"}
    expected, _ = in_frame(path, TARGET, **arguments)
    for source in (str(path), picture(), np.asarray(picture())):
        np.testing.assert_array_equal(in_frame(source, TARGET, **arguments)[0], expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_arrays_with_and_without_a_channel(channels: int) -> None:
    grey = np.asarray(picture().convert("L"))
    arguments = {"channels": channels, "resize": "stretch", "orientation": "shown"}
    expected, _ = in_frame(picture().convert("L"), TARGET, **arguments)
    assert expected.shape == (*TARGET, channels)
    for source in (grey, grey[..., None]):
        np.testing.assert_array_equal(in_frame(source, TARGET, **arguments)[0], expected)


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "HSV", "LAB", "PA", "RGBa"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_taken_whole_and_in_tiles(mode: str, channels: int) -> None:
    base = picture()
    if mode in ("I;16", "I", "F"):
        grey = np.asarray(base.convert("L"))
        wide = {"I;16": grey.astype(np.uint16) * 257, "I": grey.astype(np.int32) * 257, "F": grey / np.float32(255)}
        image = Image.fromarray(wide[mode])
    elif mode == "RGBa":
        image = base.convert("RGBA").convert(mode)
    else:
        image = base.convert("RGBA" if mode == "PA" else "RGB").convert(mode)
    frame, _ = in_frame(image, (90, 131), channels=channels, resize="stretch", orientation="shown")
    whole = decoded(image, channels=channels, orientation="shown")
    assert whole.mode == ("RGB" if channels == 3 else "L")
    np.testing.assert_array_equal(np.asarray(whole).reshape(frame.shape), frame)


def test_a_pillow_image_stays_as_it_was(tmp_path: Path) -> None:
    path = with_orientation(tmp_path / "a.jpg", 6)
    with Image.open(path) as image:
        in_frame(image, (8, 8), channels=1, resize="stretch", orientation="shown")
        assert (image.size, image.mode) == ((131, 90), "RGB")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 \[4, 4, 3\]: expected uint8 0\.\.255, \[height, width, 3\]"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \[4, 4, 4\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"uint8 \[2, 4, 4, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), "an empty array"),
        (Path("missing.jpg"), "missing.jpg can't be read as an image: no such file"),
    ],
)
def test_what_is_no_picture_is_told(source: object, message: str) -> None:
    with pytest.raises(jaxseg.InputError, match=message):
        size_of(source, "shown")


@pytest.mark.parametrize("size", [(90, 131), (45, 70), (180, 200), (37, 131)])
def test_rows_are_those_of_the_scaled_picture(size: tuple[int, int]) -> None:
    image = picture()
    whole = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(rows_of(image, size, 0, size[0]), whole)
    assert rows_of(image.crop((0, 0, 5, 3)), (187, 5), 180, 187).shape == (7, 5, 3)  # 187 times 3 / 187 is above 3
    for first, last in ((0, 10), (7, 30), (size[0] - 9, size[0])):
        np.testing.assert_allclose(rows_of(image, size, first, last).astype(int), whole[first:last], atol=1)
