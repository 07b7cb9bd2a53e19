"""The run folder: the names in it, and writes that are whole or not there."""

import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxseg.digests import settle


@dataclass(frozen=True)
class RunFolder:
    """Everything a run leaves, by name."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings, and the digests of the annotation files."""
        return self.path / "config.json"

    @property
    def model(self) -> Path:
        """What travels with the weights: architecture, size, scale, resize rule, classes, threshold."""
        return self.path / "model.json"

    @property
    def metrics(self) -> Path:
        """One line a logging interval and one an epoch; deterministic numbers only."""
        return self.path / "metrics.jsonl"

    @property
    def timings(self) -> Path:
        """Everything with a clock."""
        return self.path / "timings.jsonl"

    @property
    def wandb_id(self) -> Path:
        """By which the run goes on as the same one at Weights & Biases."""
        return self.path / "wandb_id.txt"

    @property
    def faults(self) -> Path:
        """Images that could not be read, one a line."""
        return self.path / "faults.jsonl"

    def nonfinite(self, step: int) -> Path:
        """What reproduces a step that the run stopped at."""
        return self.path / f"nonfinite-{step}.npz"

    @property
    def checkpoints(self) -> Path:
        """Orbax checkpoints by step."""
        return self.path / "checkpoints"

    @property
    def evaluation(self) -> Path:
        """Reports, a folder each."""
        return self.path / "evaluation"

    @property
    def best_weights(self) -> Path:
        """The best weights, for PyTorch."""
        return self.path / "unet_model.pth"

    @property
    def final_weights(self) -> Path:
        """The last weights, for PyTorch."""
        return self.path / "unet_model_final.pth"


UNFINISHED = re.compile(r"\..*-[a-z0-9_]{8}(\.\w+)?")
"""Names of temporary files."""
UMASK = os.umask(0)
os.umask(UMASK)  # asked once: to ask sets it for a moment, for all threads


def write_whole(path: Path, write: Callable[[Path], object], *, durable: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, then give it its name: never half a file under `path`.

    Where the disk refuses it, the old file stays. If it is `durable`, which costs some milliseconds, the old or the new
    one is whole after a power failure too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o666 & ~UMASK)  # mkstemp makes it private
        if durable:
            settle(temporary)
        os.replace(temporary, path)
        if durable:
            settle(path.parent)
    except OSError as error:
        if error.errno and error.filename in (None, name):
            error.filename = str(path)  # which is the name that the reader knows
        raise
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path, pattern: str) -> None:
    """Remove what `write_whole` left, where it was killed, of the files of a pattern; nothing may be writing there."""
    for path in folder.glob(pattern):
        if UNFINISHED.fullmatch(path.name) and path.is_file():
            path.unlink()


def write_json(path: Path, content: Any) -> None:
    """`content` as indented JSON, whole."""
    write_whole(path, lambda file: file.write_text(json.dumps(content, indent=2) + "\n"))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a .jsonl file; an unfinished last line, as a crash leaves it, is left out."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def drop_unfinished_line(path: Path) -> None:
    """Cut off an unfinished last line, as a crash leaves it: what is appended shall begin a line."""
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)
