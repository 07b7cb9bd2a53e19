"""Every kind of image file becomes uint8 of one shape; every broken one becomes an error that names it."""

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from jaxseg.data.coco import DataError
from jaxseg.data.geometry import place
from jaxseg.data.images import decided, read_image
from jaxseg.data.jpegs import installed

STORED, TARGET = (61, 83), (20, 30)
ROWS, COLUMNS = np.mgrid[:61, :83].astype(np.uint8)
GREY = 2 * ROWS + COLUMNS
RGB = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
PICTURE, DIM = Image.fromarray(RGB), Image.fromarray(GREY)


def palette(transparency: object = None) -> Image.Image:
    picture = PICTURE.quantize(200)
    if transparency is not None:
        picture.info["transparency"] = transparency
    return picture


def clear(picture: Image.Image) -> Image.Image:
    """With an alpha channel, clear on the left."""
    picture = picture.copy()
    picture.putalpha(Image.fromarray(np.where(COLUMNS < 40, 0, 255).astype(np.uint8)))
    return picture


def lab(picture: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.applyTransform(picture, ImageCms.buildTransform(*profiles, "RGB", "LAB"))


I16B = Image.frombytes("I;16B", PICTURE.size, (GREY.astype(">u2") * 257).tobytes())


def put(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path


@pytest.fixture(params=["pillow", "simplejpeg"])
def decoder(request: pytest.FixtureRequest) -> str:
    if request.param == "simplejpeg" and not installed():
        pytest.skip("needs simplejpeg: pip install simplejpeg")
    return request.param


def read(
    path: Path,
    channels: int = 3,
    stored: tuple[int, int] = STORED,
    target: tuple[int, int] = TARGET,
    decoder: Any = "pillow",
) -> np.ndarray:
    return read_image(path, placement=place(stored, target, "stretch"), channels=channels, decoder=decoder)


def luminance(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array([0.299, 0.587, 0.114])


def psnr(ours: np.ndarray, theirs: np.ndarray) -> float:
    """In dB; 100 where nothing differs."""
    return float(10 * np.log10(255**2 / (np.mean((ours.astype(float) - theirs.astype(float)) ** 2) + 255**2 / 1e10)))


KINDS: dict[str, tuple[str, Callable[[], Image.Image], np.ndarray, dict]] = {
    "rgb": ("a.png", lambda: PICTURE, RGB, {}),
    "jpeg": ("a.jpg", lambda: PICTURE, RGB, {"quality": 95, "subsampling": 0}),
    "progressive": ("a.jpg", lambda: PICTURE, RGB, {"quality": 95, "subsampling": 0, "progressive": True}),
    "cmyk": ("a.jpg", lambda: PICTURE.convert("CMYK"), RGB, {"quality": 95, "subsampling": 0}),
    "grey": ("a.png", lambda: DIM, GREY, {}),
    "grey jpeg": ("a.jpg", lambda: DIM, GREY, {"quality": 95}),
    "cmyk tiff": ("a.tif", lambda: PICTURE.convert("CMYK"), RGB, {}),
    "ycbcr tiff": ("a.tif", lambda: PICTURE.convert("YCbCr"), RGB, {}),
    "lab tiff": ("a.tif", lambda: lab(PICTURE), RGB, {}),
    "jpeg 2000": ("a.jp2", lambda: PICTURE, RGB, {}),
    "ppm": ("a.ppm", lambda: PICTURE, RGB, {}),
    "grey alpha": ("a.png", lambda: clear(DIM), GREY, {}),
    "sixteen bits": ("a.png", lambda: Image.fromarray(GREY.astype(np.uint16) * 257), GREY, {}),
    "sixteen bits tiff": ("a.tif", lambda: Image.fromarray(GREY.astype(np.uint16) * 257), GREY, {}),
    "sixteen bits, the other byte order": ("a.tif", lambda: I16B, GREY, {}),
    "32 bits": ("a.tif", lambda: Image.fromarray(GREY.astype(np.int32) * 257), GREY, {}),
    "floats to 1": ("a.tif", lambda: Image.fromarray(GREY.astype(np.float32) / 255), GREY, {}),
    "floats to 255": ("a.tif", lambda: Image.fromarray(GREY.astype(np.float32)), GREY, {}),
    "palette": ("a.png", palette, RGB, {}),
    "palette gif": ("a.gif", palette, RGB, {}),
    "palette, one colour clear": ("a.png", lambda: palette(3), RGB, {}),
    "palette, any colour clear": ("a.png", lambda: palette(bytes(range(200))), RGB, {}),
    "alpha": ("a.png", lambda: clear(PICTURE), RGB, {}),
    "one bit": ("a.png", lambda: Image.fromarray(GREY > 120), 255 * (GREY > 120), {}),
    "webp": ("a.webp", lambda: PICTURE, RGB, {"lossless": True}),
    "bmp": ("a.bmp", lambda: PICTURE, RGB, {}),
    "mpo": ("a.mpo", lambda: PICTURE, RGB, {"quality": 95, "subsampling": 0, "save_all": True, "append_images": [DIM]}),
}


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(tmp_path: Path, kind: str, channels: int, decoder: str) -> None:
    name, make, truth, options = KINDS[kind]
    found = read(put(tmp_path / name, make(), **options), channels, decoder=decoder)
    assert (found.shape, found.dtype) == ((*TARGET, channels), np.uint8)
    colours = truth if truth.ndim == 3 else np.repeat(truth[..., None], 3, axis=-1)
    expected = colours if channels == 3 else luminance(colours)[..., None]
    small = [
        np.asarray(Image.fromarray(plane.astype(np.float32)).resize(TARGET[::-1], Image.Resampling.BILINEAR))
        for plane in np.moveaxis(expected, -1, 0)
    ]
    assert psnr(found, np.stack(small, axis=-1)) > 33


def test_no_resize_is_exact(tmp_path: Path) -> None:
    assert np.array_equal(read(put(tmp_path / "a.png", PICTURE), target=STORED), RGB)
    assert np.array_equal(read(put(tmp_path / "g.png", DIM), 1, target=STORED)[..., 0], GREY)
    for kind in ("sixteen bits", "sixteen bits, the other byte order", "32 bits", "floats to 1", "floats to 255"):
        name, make, truth, _ = KINDS[kind]
        assert np.array_equal(read(put(tmp_path / name, make()), 1, target=STORED)[..., 0], truth)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_rotation_is_not_applied(tmp_path: Path, orientation: int, decoder: str) -> None:
    """COCO's masks belong to the pixels as they are stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = read(put(tmp_path / "turned.jpg", PICTURE, exif=exif), decoder=decoder)
    assert np.array_equal(turned, read(put(tmp_path / "plain.jpg", PICTURE), decoder=decoder))


def test_a_resize_is_antialiased(tmp_path: Path) -> None:
    """Fine stripes become grey; linear interpolation alone would make a moire of them."""
    stripes = np.repeat(255 * (np.arange(400) % 2), 300).reshape(400, 300).astype(np.uint8)
    found = read(put(tmp_path / "a.png", Image.fromarray(stripes)), 1, stored=(400, 300), target=(50, 40))
    assert np.abs(found[2:-2].astype(int) - 127).max() <= 3


def full_decode(path: Path, target: tuple[int, int]) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").resize(target[::-1], Image.Resampling.BILINEAR))


def scores_against_full_decode(paths: list[Path], target: tuple[int, int], decoder: str) -> list[float]:
    scores = []
    for path in paths:
        with Image.open(path) as picture:
            stored = (picture.height, picture.width)
        scores.append(psnr(read(path, stored=stored, target=target, decoder=decoder), full_decode(path, target)))
    return scores


@pytest.mark.parametrize("target", [(64, 64), (96, 128)], ids=str)
def test_reduced_decoding_is_close_to_the_full_one(sample: Path, target: tuple[int, int], decoder: str) -> None:
    scores = scores_against_full_decode(sorted((sample / "images" / "val2017").iterdir()), target, decoder)
    assert min(scores) > 32


def test_reduced_decoding_is_close_on_real_photographs(coco_dev: Path, decoder: str) -> None:
    paths = sorted((coco_dev / "images" / "val2017").iterdir())[:25]
    scores = scores_against_full_decode(paths, (224, 224), decoder)
    print(f"PSNR to a full decode: mean {np.mean(scores):.1f} dB, worst {min(scores):.1f} dB")
    assert min(scores) > 32


def test_large_jpegs_are_decoded_at_a_reduced_size(tmp_path: Path) -> None:
    """Half the time of loading goes into it."""
    path = put(tmp_path / "a.jpg", Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8))))
    seen = []
    original = Image.Image.resize
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "resize", lambda self, *a, **k: (seen.append(self.size), original(self, *a, **k))[1])
        read(path, stored=(488, 664), target=STORED)
    assert seen == [(83, 61)]


# The two decoders.


def test_what_simplejpeg_does_not_read_is_left_to_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    plain = put(tmp_path / "a.jpg", PICTURE)
    padded = tmp_path / "padded.jpg"
    padded.write_bytes(plain.read_bytes() + bytes(2**17))  # larger than its pixels: not read at once
    others = [put(tmp_path / "b.jpg", PICTURE.convert("CMYK")), put(tmp_path / "a.png", PICTURE), padded]
    for path in others:
        for channels in (1, 3):
            assert np.array_equal(read(path, channels, decoder="simplejpeg"), read(path, channels))
    assert not np.array_equal(read(plain, decoder="simplejpeg"), read(plain))

    def fail(*_: object, **__: object) -> None:
        raise ValueError("odd")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", fail)
    assert np.array_equal(read(plain, decoder="simplejpeg"), read(plain))


def test_simplejpeg_decodes_no_more_than_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    path = put(tmp_path / "a.jpg", PICTURE)
    decode, seen = simplejpeg.decode_jpeg, []

    def watch(*given: object, **options: object) -> np.ndarray:
        seen.append(decode(*given, **options))
        return seen[-1]

    monkeypatch.setattr(simplejpeg, "decode_jpeg", watch)
    for target in ((20, 30), (8, 11), (16, 22), (61, 83), (100, 200), (1, 1)):
        read(path, target=target, decoder="simplejpeg")
    assert [pixels.shape[:2] for pixels in seen] == [(23, 32), (8, 11), (23, 32), (61, 83), (61, 83), (8, 11)]


def test_the_decoder_is_decided_by_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr("jaxseg.data.images.installed", lambda there=there: there)
        assert decided("auto") == ("simplejpeg" if there else "pillow")
        assert decided("pillow") == "pillow"
        if there:
            assert decided("simplejpeg") == "simplejpeg"
    with pytest.raises(DataError, match="not installed: pip install simplejpeg, or take --data"):
        decided("simplejpeg")


# Files that can't be used.


def refuse(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, **options)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_another_size_than_the_jsons_is_said(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", PICTURE)
    for stored in ((83, 60), (61, 82), (122, 166)):
        message = refuse(path, stored=stored)
        assert "is 61 x 83 (height x width), its entry in the JSON says" in message
        assert f"{stored[0]} x {stored[1]}: the masks would not fit. Was it resized or rotated?" in message


@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_exchanged_sides_are_told_with_their_likely_reason(tmp_path: Path, orientation: int | None) -> None:
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    path = put(tmp_path / "a.jpg", PICTURE, exif=exif)
    message = refuse(path, stored=(83, 61))
    assert "is 61 x 83 (height x width), its entry in the JSON says 83 x 61" in message
    assert "Height and width are exchanged" in message
    turned = f"its EXIF orientation {orientation} turns it for display" in message
    assert turned == (f"mogrify -auto-orient {path}" in message) == (orientation in (6, 8))


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"<html>404</html>", b"%PDF-1.4", b"\x89PNG\r\n\x1a\n"], ids=str)
def test_what_is_no_image_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    assert "can't be read as an image" in refuse(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp"])
def test_a_truncated_file_is_said(tmp_path: Path, name: str, decoder: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, RGB.shape, np.uint8)
    path = put(tmp_path / name, Image.fromarray(noise))
    whole = path.read_bytes()
    assert read(path, decoder=decoder).any()
    for length in range(1, int(len(whole) * 0.9), max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        assert "can't be read as an image" in refuse(path, decoder=decoder)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.tif", "a.webp", "a.bmp", "a.jp2", "a.avif"])
def test_damaged_files_raise_nothing_else(tmp_path: Path, name: str, decoder: str, long: bool) -> None:
    path = put(tmp_path / name, PICTURE.quantize(64) if name.endswith("gif") else PICTURE)
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(3000 if long else 100):
        damaged = np.frombuffer(whole, np.uint8).copy()
        size = min(200, damaged.size) if random.random() < 0.5 else damaged.size
        places = random.integers(0, size, random.integers(1, 6))
        damaged[places] = random.integers(0, 256, places.size)
        path.write_bytes(damaged.tobytes())
        with warnings.catch_warnings():  # Pillow warns of odd metadata
            warnings.simplefilter("ignore")
            with contextlib.suppress(DataError):
                assert read(path, decoder=decoder).shape == (*TARGET, 3)


def test_a_decoders_own_errors_are_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.png", PICTURE)

    def fail(error: Exception) -> None:
        def load(self: Image.Image) -> None:
            raise error

        monkeypatch.setattr(Image.Image, "convert", lambda self, mode: load(self))

    for error in (IndexError("x"), EOFError("x"), TypeError("x"), OverflowError("x")):
        fail(error)
        assert "can't be read as an image: x" in refuse(path)
    fail(MemoryError())  # some decoders raise it of a broken file
    assert "its decoder asks for far more memory than its size needs" in refuse(path)

    def lacking(_: int) -> None:
        raise MemoryError

    monkeypatch.setattr("jaxseg.data.headers.bytearray", lacking, raising=False)  # the machine's fault
    with pytest.raises(MemoryError):
        read(path)
