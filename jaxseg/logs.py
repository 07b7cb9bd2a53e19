"""Where a run's numbers and pictures go: JSON lines, TensorBoard, Weights & Biases."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxseg.errors import InputError
from jaxseg.run import RunFolder, read_lines, write_whole


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

    def __init__(self, folder: RunFolder, settings: Logs, *, step: int, config: dict[str, Any]) -> None:
        """Records past `step` are taken out: the steps after it are done again."""
        self.run = start_wandb(folder.path, settings, config) if settings.wandb else None
        self.board = None
        if settings.tensorboard:
            from tensorboardX import SummaryWriter

            self.board = SummaryWriter(str(folder.path), purge_step=step + 1 if step else None)
        keep_until(folder.metrics, step)
        keep_until(folder.timings, step)
        self.metrics = folder.metrics.open("a")
        self.timings = folder.timings.open("a")

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.metrics.close()
        self.timings.close()
        if self.board:
            self.board.close()
        if self.run:
            self.run.finish()

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
                self.board.add_scalar(name, value, step)
        if self.run:
            self.run.log(finite, step=step)

    def pictures(self, step: int, panels: dict[str, UInt8[np.ndarray, "height width 3"]]) -> None:
        """Pictures by name."""
        if self.board:
            for name, panel in panels.items():
                self.board.add_image(name, panel, step, dataformats="HWC")
        if self.run:
            import wandb

            self.run.log({name: wandb.Image(panel) for name, panel in panels.items()}, step=step)


def append(file: Any, record: dict[str, Any]) -> None:
    """One line of JSON, flushed; numbers that are not finite, which JSON lacks, are null."""
    known = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    file.write(json.dumps(known, allow_nan=False) + "\n")
    file.flush()


def keep_until(path: Path, step: int) -> None:
    records = read_lines(path)
    kept = [record for record in records if record["step"] <= step]
    if len(kept) < len(records) or not path.exists():
        text = "".join(json.dumps(record) + "\n" for record in kept)
        write_whole(path, lambda file: file.write_text(text))


def start_wandb(folder: Path, settings: Logs, config: dict[str, Any]) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise InputError("logs.wandb needs the package wandb: pip install 'jaxseg[wandb]'") from error
    # The name of the folder is the id, so that a run that goes on is the same W&B run.
    name = folder.resolve().name
    return wandb.init(
        project=settings.wandb_project, id=name, name=name, dir=str(folder), config=config, resume="allow"
    )
