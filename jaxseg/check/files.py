"""Image files: whether they are there, whole, and what their entries say."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import ImageFile

from jaxseg.check.findings import Fault, Kind
from jaxseg.data.geometry import Placement
from jaxseg.data.headers import opened
from jaxseg.data.images import decided, read_image
from jaxseg.data.settings import Data
from jaxseg.errors import DataError

BROKEN = "Stops at the first such image; with --data.on-error skip its sample weighs nothing, and is listed."
ORIENTATION = 0x0112  # EXIF's tag
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".avif", ".ppm", ".pgm")
PLAIN = ("RGB", "YCbCr")
OTHERS = {
    b"version https://git-lfs": "it is a pointer of Git LFS: fetch the files by `git lfs pull`",
    b"<": "it begins like a web page: the download failed",
    b"{": "it begins like JSON: the download failed",
}

MISSING = Kind(
    "missing-image",
    "error",
    "images",
    "An image file is not there.",
    BROKEN,
    "Copy it into the images folder, mend file_name, or give the right folder by --images (--data.train-images).",
)
EMPTY = Kind("empty-image", "error", "images", "An image file is empty.", BROKEN, "Copy or download it again.")
UNREADABLE = Kind(
    "unreadable-image",
    "error",
    "images",
    "An image file can't be read as an image.",
    BROKEN,
    "Copy or download it again; jaxseg reads JPEG, PNG, WebP, TIFF, BMP, GIF, JPEG 2000, AVIF and PPM.",
)
TRUNCATED = Kind(
    "truncated-image", "error", "images", "An image file breaks off.", BROKEN, "Copy or download it again."
)
WRONG_SIZE = Kind(
    "wrong-image-size",
    "error",
    "images",
    "An image is of another size than its entry says.",
    BROKEN,
    "Mend height and width in the JSON, or put the picture there that was annotated, turned or scaled as it was then.",
)
BOMB = Kind(
    "absurd-image",
    "error",
    "images",
    "An image file claims more pixels than jaxseg decodes.",
    BROKEN,
    "Cut it into tiles; if it is no such picture, take it out: it may be a decompression bomb.",
)
TURNED = Kind(
    "exif-turned",
    "warning",
    "images",
    "EXIF data ask for the image to be turned or mirrored for display.",
    "Does not turn it: COCO's masks belong to the pixels as they are stored.",
    "Look at an overlay. If the masks were drawn on the turned picture, turn its pixels: mogrify -auto-orient FILE.",
)
MODE = Kind(
    "image-mode",
    "note",
    "images",
    "An image is not 8-bit RGB.",
    "Converts it to RGB, or to grey where data.channels is 1; of transparency the colours are kept.",
    "Nothing, if it looks right in the overlays.",
)
FRAMES = Kind(
    "several-frames",
    "note",
    "images",
    "An image file holds several frames.",
    "Reads the first.",
    "Save the others apart.",
)
BLANK = Kind(
    "blank-image",
    "warning",
    "images",
    "An image is of one colour all over.",
    "Trains on it.",
    "Look at it: it may be what a failed export or camera left.",
)
UNNAMED = Kind(
    "unnamed-file",
    "note",
    "files",
    "An image in the folder is not named by any entry.",
    "Does not read it.",
    "Add an entry if it belongs to the data set; one without annotations is background.",
)


class Seen(NamedTuple):
    """What was found of one image file; `content` and `look` are digests of its bytes and of what the network sees."""

    faults: list[Fault]
    pixels: UInt8[np.ndarray, "height width channels"] | None = None
    content: bytes = b""
    look: bytes = b""


def examine_file(path: Path, id_: int, placement: Placement, data: Data, quick: bool, folder: "Folder") -> Seen:
    """Check one image file as the loader would read it; `quick` reads its header only."""
    faults: list[Fault] = []
    try:
        if path.is_file() and path.stat().st_size == 0:
            return Seen([Fault(EMPTY, id_, path.name)])
        with opened(path) as image:
            size, mode = (image.height, image.width), image.mode
            turned, frames = extras(image)
        if size != placement.full:
            return Seen([Fault(WRONG_SIZE, id_, f"{path.name}: {sizes(size, placement.full, turned)}")])
        if mode not in PLAIN:
            faults.append(Fault(MODE, id_, f"{mode}: {path.name}"))
        if frames > 1:
            faults.append(Fault(FRAMES, id_, f"{frames}: {path.name}"))
        if turned in range(2, 9):
            faults.append(Fault(TURNED, id_, f"orientation {turned}: {path.name}"))
        if quick:
            return Seen(faults)
        pixels = read_image(path, placement=placement, channels=data.channels, decoder=decided(data.decoder))
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "blake2b").digest()[:16]
    except (DataError, OSError) as error:
        return Seen([broken(path, id_, error, folder)])
    filled = pixels[placement.window]
    if (filled == filled[0, 0]).all():
        return Seen([*faults, Fault(BLANK, id_, path.name)], pixels, content, content)
    return Seen(faults, pixels, content, hashlib.blake2b(pixels.tobytes(), digest_size=16).digest())


def extras(image: ImageFile.ImageFile) -> tuple[Any, int]:
    """EXIF's orientation and the number of frames; 1 for what is absent, or broken where the picture may be sound."""
    try:
        turned = image.getexif().get(ORIENTATION, 1)
    except Exception:
        turned = 1
    try:
        return turned, getattr(image, "n_frames", 1)
    except Exception:
        return turned, 1


def sizes(found: tuple[int, int], said: tuple[int, int], turned: Any) -> str:
    text = f"{found[0]} x {found[1]} (height x width), its entry says {said[0]} x {said[1]}"
    if found != said[::-1]:
        return text
    if turned in (5, 6, 7, 8):
        return f"{text}: the size after its EXIF orientation {turned}; the masks were drawn on the turned picture"
    return f"{text}: height and width are exchanged"


def broken(path: Path, id_: int, error: Exception, folder: "Folder") -> Fault:
    """The fault behind what the loader says of a file."""
    name = os.path.relpath(path, folder.path)
    said = str(error).removeprefix(f"{path} ").removeprefix("can't be read as an image: ")
    if not os.path.lexists(path):
        return Fault(MISSING, id_, name + folder.hint(path))
    if path.is_symlink() and not path.exists():
        return Fault(MISSING, id_, f"{name}: a link to what is not there")
    if "more than the" in said:
        return Fault(BOMB, id_, said)
    if "truncated" in said or "premature" in said.casefold():
        return Fault(TRUNCATED, id_, f"{name}: {said}")
    return Fault(UNREADABLE, id_, f"{name}: {first_bytes(path) or said}")


def first_bytes(path: Path) -> str:
    """What a file is that is no image, where its beginning shows that."""
    if not path.is_file():  # a pipe would wait for ever
        return ""
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip()
    except OSError:
        return ""
    return next((what for sign, what in OTHERS.items() if start.startswith(sign)), "")


class Folder:
    """The images folder, looked through once: what lies there, and what a missing file may be called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: list[str] = []
        for place, folders, names in os.walk(path, onerror=None):
            folders.sort()
            self.files += [str(Path(place, name)) for name in sorted(names) if name.lower().endswith(PICTURES)]
        self.likely: dict[str, str] | None = None

    def hint(self, path: Path) -> str:
        """Where a missing file may be: under another case or ending, or in another folder."""
        if self.likely is None:
            self.likely = {folded(name): os.path.relpath(name, self.path) for name in self.files}
        near = self.likely.get(folded(path.name))
        return f"; there is {near}" if near else ""

    def unnamed(self, named: frozenset[str]) -> Iterator[Fault]:
        """Images that no entry names."""
        yield from (Fault(UNNAMED, os.path.relpath(name, self.path)) for name in self.files if name not in named)


def folded(name: str) -> str:
    """A file name by which other spellings of it are found."""
    return unicodedata.normalize("NFC", Path(name.replace("\\", "/")).stem).casefold()
