"""Files that must not be decoded, or not even opened, are refused by name, in bounded memory."""

import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from coco_files import image, write_coco, write_pictures
from PIL import Image

from jaxseg.data.coco import DataError
from jaxseg.data.geometry import MAX_PIXELS, check_pixels, place
from jaxseg.data.headers import opened
from jaxseg.data.images import read_image
from jaxseg.data.layout import image_path
from jaxseg.data.masks import draw_mask
from jaxseg.data.samples import Data, open_split


def refuse(path: Path) -> str:
    with pytest.raises(DataError) as caught, opened(path):
        pass
    assert str(path) in str(caught.value)
    return str(caught.value)


# Absurd sizes: what each header says of a small file.


def small(form: str, **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)).save(file, form, **options)
    return file.getvalue()


def patched(whole: bytes, before: bytes, after: bytes) -> bytes:
    assert before in whole
    return whole.replace(before, after)


def png(side: int) -> bytes:
    """Whole and valid: zeros, a thousandth of their size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compressobj(9)
    row = bytes(1 + -(-side // 8))
    data = b"".join(rows.compress(row) for _ in range(side)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def webp() -> bytes:
    """An extended file whose canvas is the largest that the format has."""
    frame = small("WEBP", lossless=True)[12:]
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + bytes(4) + (2 * (2**14 - 1).to_bytes(3, "little")) + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


BOMBS: dict[str, Callable[[], bytes]] = {
    "png": lambda: png(40_000),
    "jpg": lambda: patched(small("JPEG"), struct.pack(">HH", 48, 64), struct.pack(">HH", 65500, 65500)),
    "gif": lambda: patched(small("GIF"), struct.pack("<HH", 64, 48), struct.pack("<HH", 65535, 65535)),
    "bmp": lambda: patched(small("BMP"), struct.pack("<ii", 64, 48), struct.pack("<ii", 2**20, 2**20)),
    "tif": lambda: patched(
        patched(small("TIFF"), struct.pack("<HHII", 256, 4, 1, 64), struct.pack("<HHII", 256, 4, 1, 2**20)),
        struct.pack("<HHII", 257, 4, 1, 48),
        struct.pack("<HHII", 257, 4, 1, 2**20),
    ),
    "ppm": lambda: b"P6 1000000 1000000 255\n" + bytes(100),
    "jp2": lambda: patched(small("JPEG2000"), struct.pack(">II", 48, 64), struct.pack(">II", 2**20, 2**20)),
    "webp": webp,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_absurd_sizes_are_refused_without_a_warning(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(BOMBS[kind]())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        message = refuse(path)
    assert not caught
    if kind != "webp":  # whose own library may refuse it first
        assert f"more than the {MAX_PIXELS} pixels that are decoded" in message


# In kilobytes. Not getrusage's ru_maxrss: a process begins with that of the process that started it.
PEAK = 'int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])'

READ_ALL = """
import sys
from pathlib import Path
from jaxseg.data.coco import DataError
from jaxseg.data.geometry import place
from jaxseg.data.images import read_image
before = MEMORY
for path in sorted(Path(sys.argv[1]).iterdir()):
    for full in ((40_000, 40_000), (11_000, 12_000), (48, 64)):
        try:
            read_image(path, placement=place(full, (32, 32), "stretch"), channels=3)
            print("read", path)
        except DataError:
            pass
print(MEMORY - before)
""".replace("MEMORY", PEAK)


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_absurd_sizes_take_no_memory(tmp_path: Path) -> None:
    for kind, make in BOMBS.items():
        (tmp_path / f"a.{kind}").write_bytes(make())
    run = [sys.executable, "-W", "error", "-c", READ_ALL, str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) < 40_000  # kilobytes


READ_DAMAGED = """
import random, resource, sys
from pathlib import Path
from jaxseg.data.coco import DataError
from jaxseg.data.geometry import place
from jaxseg.data.images import read_image
from jaxseg.data.jpegs import installed
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
dice, folder, count = random.Random(0), Path(sys.argv[1]), int(sys.argv[2])
whole, path, read = {p.name: p.read_bytes() for p in sorted(folder.iterdir())}, folder / "damaged", 0
decoders = ("pillow", "simplejpeg") if installed() else ("pillow",)
for name in sorted(whole) * (count // len(whole)):
    content = bytearray(whole[name])
    del content[dice.choice([len(content), dice.randrange(len(content)) + 1]):]
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(min(len(content), dice.choice([64, 300, len(content)])))
        wide = min(dice.choice([1, 1, 2, 4]), len(content) - at)
        content[at : at + wide] = bytes([dice.choice([0, 255, 127, 128, dice.randrange(256)])]) * wide
    path.write_bytes(content)
    for decoder in decoders:
        try:
            read_image(path, placement=place((48, 64), (20, 30), "stretch"), channels=3, decoder=decoder)
            read += 1
        except DataError as error:
            assert str(path) in str(error)
print(read, MEMORY)
""".replace("MEMORY", PEAK)


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_damaged_files_neither_crash_nor_fill_the_memory(tmp_path: Path, long: bool) -> None:
    """Whatever the formats' libraries do: every file is read or refused by name. They may print, on stderr."""
    for form in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "PPM"):
        (tmp_path / form).write_bytes(small(form))
    for name, options in {"deflate": "tiff_deflate", "lzw": "tiff_lzw", "jpeg in tiff": "jpeg"}.items():
        (tmp_path / name).write_bytes(small("TIFF", compression=options))
    (tmp_path / "progressive").write_bytes(small("JPEG", progressive=True))
    run = [sys.executable, "-c", READ_DAMAGED, str(tmp_path), str(20_000 if long else 800)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    read, peak = map(int, done.stdout.split())
    assert read > 50
    assert peak < 300_000  # kilobytes


@pytest.mark.parametrize(("height", "width", "good"), [(2**13, 2**14, True), (2**13 + 1, 2**14, False)], ids=str)
def test_the_bound_is_where_it_is_said_to_be(tmp_path: Path, height: int, width: int, good: bool) -> None:
    check_pixels((1, MAX_PIXELS), "it")
    with pytest.raises(DataError):
        check_pixels((MAX_PIXELS + 1, 1), "it")
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6 %d %d 255\n" % (width, height))
    if good:
        with opened(path) as found:
            assert (found.height, found.width) == (height, width)
    else:
        assert "8193 x 16384 (height x width)" in refuse(path)


def test_absurd_sizes_in_the_json_are_refused(tmp_path: Path) -> None:
    """No file has to agree with them, and a mask would fill the memory as well."""
    sizes = place((2**31 - 1, 2**31 - 1), (8, 8), "stretch")
    with pytest.raises(DataError, match="by its entry in the JSON, is 2147483647 x 2147483647"):
        read_image(tmp_path / "missing.png", placement=sizes, channels=3)
    with pytest.raises(DataError, match="by its entry in the JSON, is 2147483647 x 2147483647"):
        draw_mask([], np.zeros(1, np.uint8), Data().rules, sizes)


# Files that are no images.


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)  # to open it would wait for a writer
    assert refuse(pipe).endswith("can't be read as an image: it is no regular file.")
    assert refuse(tmp_path).endswith("can't be read as an image: it is a folder.")
    assert refuse(Path("/dev/zero")).endswith("can't be read as an image: it is no regular file.")
    assert refuse(tmp_path / "a.jpg").endswith("can't be read as an image: no such file.")
    (tmp_path / "empty.png").touch()
    assert refuse(tmp_path / "empty.png").endswith("can't be read as an image: the file is empty.")
    assert "can't be read as an image" in refuse(tmp_path / ("x" * 300))
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert "can't be read as an image" in refuse(tmp_path / "loop.png")


def test_formats_that_run_other_programs_are_not_read(tmp_path: Path) -> None:
    """PostScript is run by Ghostscript."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(path, "EPS")
    assert "it is none of JPEG, PNG, WEBP" in refuse(path)


def test_the_name_says_nothing_of_the_format(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 9)).save(path, "PNG")
    with opened(path) as found:
        assert (found.format, found.size) == ("PNG", (8, 9))


def test_of_several_frames_the_first_is_read(tmp_path: Path) -> None:
    frames = [Image.new("L", (9, 7), value) for value in (40, 200, 90)]
    for name in ("a.gif", "a.tif", "a.webp", "a.png"):
        options = {"lossless": True} if name == "a.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        found = read_image(tmp_path / name, placement=place((7, 9), (7, 9), "stretch"), channels=1)
        assert np.abs(found.astype(int) - 40).max() <= 1


def test_files_are_closed(tmp_path: Path) -> None:
    """A run reads millions; pytest turns the warning of an unclosed file into an error."""
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 9)).save(path)
    held = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(20):
        read_image(path, placement=place((9, 8), (4, 4), "stretch"), channels=3)
        with pytest.raises(DataError):
            read_image(path, placement=place((8, 8), (4, 4), "stretch"), channels=3)
    assert not held or len(os.listdir("/proc/self/fd")) == held


# Names.


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("a.jpg", "a.jpg"),
        ("deep/er/a.jpg", "deep/er/a.jpg"),
        ("./a.jpg", "a.jpg"),
        ("deep/../a.jpg", "a.jpg"),
        ("..a.jpg", "..a.jpg"),
        ("...", "..."),
        ("a b/ü.jpg", "a b/ü.jpg"),
    ],
)
def test_names_in_the_folder(tmp_path: Path, name: str, inside: str) -> None:
    assert image_path(tmp_path, name) == tmp_path / inside
    assert image_path(Path("images"), name) == Path("images") / inside
    assert image_path(tmp_path, str(tmp_path / name)) == tmp_path / inside


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a.jpg", "deep/../../a.jpg", "/etc/passwd", "a\0.jpg", "/", "deep/..", "\0"]
)
def test_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "images"
    for given in (folder, Path("images"), Path("/")):
        if given == Path("/") and name not in ("", ".", "..", "/", "a\0.jpg"):
            continue  # nothing leaves the root
        with pytest.raises(DataError) as caught:
            image_path(given, name)
        assert repr(name) in str(caught.value)
        assert str(given) in str(caught.value)


def test_a_folder_beside_with_a_longer_name_is_outside(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leaves the images folder"):
        image_path(tmp_path / "images", "../images2/a.jpg")


def test_training_refuses_such_names_as_it_does_unreadable_files(tmp_path: Path) -> None:
    """A secret outside is never read, though it is an image; a link inside the folder is."""
    images = [image(1, file_name="../secret.png"), image(2, file_name="link.png")]
    write_pictures(tmp_path / "images", [image(2)])
    write_pictures(tmp_path, [image(1, file_name="secret.png"), image(3)])
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "3.png")
    json = write_coco(tmp_path / "x.json", images, [])
    data = Data(train_json=json, train_images=tmp_path / "images", height=8, width=8, on_error="skip")
    samples = open_split(data, "train")
    assert [float(samples[place]["weight"]) for place in range(2)] == [0, 1]
    assert "leaves the images folder" in samples[0]["fault"]
