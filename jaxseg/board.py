"""TensorBoard's event files of a run: written by us at once, so that it is known what is on disk."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

SECONDS = 30
"""The longest that a number stays unwritten, if another follows it."""


def event_files(folder: Path) -> list[Path]:
    """Those that runs in this folder wrote, in their order."""
    return sorted(folder.glob("events.out.tfevents.*.jaxseg-*"))


class Board:
    """One event file, begun with its first event.

    tensorboardX's own `SummaryWriter` hands events to a thread, and its `flush` does not wait for that; two of them
    begun in the same second write to one file.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        """A TensorBoard that is looking on forgets what it has read past `step`."""
        self.folder, self.step = folder, step
        self.writer: Any = None
        self.flushed = time.monotonic()

    def scalar(self, name: str, value: float | int, step: int) -> None:
        """A point of a curve."""
        from tensorboardX import summary

        self.write(step, summary=summary.scalar(name, value))

    def image(self, name: str, panel: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """A picture."""
        from tensorboardX import summary

        self.write(step, summary=summary.image(name, panel, dataformats="HWC"))

    def write(self, step: int, **what: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]  made at import

        if self.writer is None:
            self.writer = self.begin()
        self.writer.write_event(Event(wall_time=time.time(), step=step, **what))
        if time.monotonic() - self.flushed > SECONDS:
            self.flush()

    def begin(self) -> Any:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

        number = 1 + max((int(path.suffix.rpartition("-")[2]) for path in event_files(self.folder)), default=0)
        writer = EventsWriter(str(self.folder / "events"), f".jaxseg-{number:03d}")
        if self.step:
            start = SessionLog(status=SessionLog.START)
            writer.write_event(Event(wall_time=time.time(), step=self.step + 1, session_log=start))
        return writer

    def flush(self) -> None:
        """Until it is on disk."""
        if self.writer is not None:
            self.writer.flush()
        self.flushed = time.monotonic()

    def close(self) -> None:
        """With all that was written."""
        if self.writer is not None:
            self.writer.close()
