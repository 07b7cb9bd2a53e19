"""Images that are one and the same, in one split or in two."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxseg.check.findings import Fault, Kind

IN_SPLITS = Kind(
    "image-in-two-splits",
    "error",
    "images",
    "An image is in two splits.",
    "Goes through; but what was trained on is scored on, and the scores are too good.",
    "Take it out of one of them.",
)
IN_SPLIT = Kind(
    "image-twice",
    "warning",
    "images",
    "A split holds one image twice, as two files.",
    "Trains on it twice, and counts it twice in the scores; the masks may contradict one another.",
    "Keep one, with the annotations of both.",
)


class Content(NamedTuple):
    """An image that could be read: its digests are of the file's bytes, and of what the network sees of it."""

    image_id: int
    path: str
    digests: tuple[bytes, bytes]


def examine_content(splits: Mapping[str, Iterable[Content]]) -> Iterator[tuple[str, Fault]]:
    """Each image that came before, with its split's name; the first is held to be in its place."""
    seen: dict[bytes, tuple[str, Content]] = {}
    for split, images in splits.items():
        for image in images:
            before = next((seen[digest] for digest in image.digests if digest in seen), None)
            for digest in image.digests:
                seen.setdefault(digest, (split, image))
            if before is None:
                continue
            other, first = before
            names = f"{Path(image.path).name} is {Path(first.path).name}, image {first.image_id}"
            if other != split:
                yield split, Fault(IN_SPLITS, image.image_id, f"{names} of {other}")
            elif image.path != first.path:  # two entries of one file are another finding
                yield split, Fault(IN_SPLIT, image.image_id, names)
