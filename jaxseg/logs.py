"""Where a run's numbers and pictures go: JSON lines, TensorBoard, Weights & Biases."""

import json
import math
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxseg.board import Board, event_files
from jaxseg.digests import settle
from jaxseg.errors import InputError
from jaxseg.growing import GrowingFile
from jaxseg.run import RunFolder, write_whole
from jaxseg.trouble import Troubles


@dataclass(frozen=True)
class Logs:
    """What is logged, and where.

    Attributes:
        every: steps between two records of the training loss.
        pictures_every: epochs between two sets of panels image / truth / prediction.
        pictures: panels in a set.
        tensorboard: write TensorBoard events into the run folder.
        wandb: log to Weights & Biases too; `WANDB_MODE=offline` works without a network.
        wandb_project: its project.
    """

    every: int = 50
    pictures_every: int = 2
    pictures: int = 4
    tensorboard: bool = True
    wandb: bool = False
    wandb_project: str = "jaxseg"


class RunLog:
    """Writes what a run says; it goes on where the run goes on."""

    def __init__(
        self,
        folder: RunFolder,
        settings: Logs,
        *,
        step: int,
        lengths: dict[str, int],
        config: dict[str, Any],
        troubles: Troubles | None = None,
    ) -> None:
        """What the files hold beyond `lengths`, as `secured` gave them at `step`, is cut off: it is done again."""
        self.folder, troubles = folder, troubles or Troubles()
        cut(folder, lengths)
        self.run = start_wandb(folder, settings, config) if settings.wandb else None
        self.board = Board(folder.path, troubles, step=step) if settings.tensorboard else None
        self.metrics = GrowingFile(folder.metrics, troubles)
        self.timings = GrowingFile(folder.timings, troubles)
        settle(folder.path)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.metrics.close()
        self.timings.close()
        if self.board:
            self.board.close()
        if self.run:
            self.run.finish()

    def secured(self) -> dict[str, int]:
        """Wait until all that was logged is on disk; the length of each file, for a checkpoint of this moment.

        Raises:
            OSError: if the disk refuses it. It is in memory then, and the next call tries again.
        """
        for file in (self.metrics, self.timings, self.board):
            if file is not None:
                file.secure()
        return {path.name: path.stat().st_size for path in logged(self.folder)}

    def numbers(self, step: int, record: dict[str, Any]) -> None:
        """Deterministic numbers: a line of metrics.jsonl, and a scalar for each finite one."""
        append(self.metrics, {"step": step, **record})
        self.scalars(step, record)

    def clock(self, step: int, record: dict[str, float]) -> None:
        """Numbers that a clock made: a line of timings.jsonl, and scalars."""
        append(self.timings, {"step": step, **record})
        self.scalars(step, record)

    def scalars(self, step: int, record: dict[str, Any]) -> None:
        finite = {k: v for k, v in record.items() if isinstance(v, int | float) and math.isfinite(v)}
        if self.board:
            for name, value in finite.items():
                self.board.scalar(name, value, step)
        if self.run:
            self.run.log(finite, step=step)

    def pictures(self, step: int, panels: dict[str, UInt8[np.ndarray, "height width 3"]]) -> None:
        """Pictures by name."""
        if self.board:
            for name, panel in panels.items():
                self.board.image(name, panel, step)
        if self.run:
            import wandb

            self.run.log({name: wandb.Image(panel) for name, panel in panels.items()}, step=step)


class NoLog(RunLog):
    """That of a process which lets another write."""

    def __init__(self, *_: object, **__: object) -> None:
        """Takes what `RunLog` takes."""

    def __exit__(self, *_: object) -> None:
        pass

    def secured(self) -> dict[str, int]:
        """Nothing."""
        return {}

    def numbers(self, step: int, record: dict[str, Any]) -> None:
        """Not logged."""

    def clock(self, step: int, record: dict[str, float]) -> None:
        """Not logged."""

    def pictures(self, step: int, panels: dict[str, UInt8[np.ndarray, "height width 3"]]) -> None:
        """Not logged."""


def append(file: GrowingFile, record: dict[str, Any]) -> None:
    """One line of JSON; numbers that are not finite, which JSON lacks, are null."""
    known = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    file.write((json.dumps(known, allow_nan=False) + "\n").encode())


def logged(folder: RunFolder) -> list[Path]:
    """The files that `RunLog` writes, those that are there."""
    return [path for path in (folder.metrics, folder.timings, *event_files(folder.path)) if path.exists()]


def cut(folder: RunFolder, lengths: dict[str, int]) -> None:
    """Make the files as long as they were; one that was not there yet is removed."""
    for path in logged(folder):
        length, now = lengths.get(path.name, 0), path.stat().st_size
        if not length:
            path.unlink()
        elif length < now:
            os.truncate(path, length)
        elif length > now:
            print(f"warning: {path} is shorter than when the checkpoint was saved: records are missing.")


def start_wandb(folder: RunFolder, settings: Logs, config: dict[str, Any]) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise InputError("logs.wandb needs the package wandb: pip install 'jaxseg[wandb]'") from error
    name = folder.path.resolve().name
    if not folder.wandb_id.exists():
        write_whole(folder.wandb_id, lambda file: file.write_text(f"{name}-{secrets.token_hex(4)}\n"))
    return wandb.init(
        project=settings.wandb_project,
        id=folder.wandb_id.read_text().strip(),
        name=name,
        dir=str(folder.path),
        config=config,
        resume="allow",
    )
