"""TensorBoard's event files of a run: written by us at once, so that it is known what is on disk."""

import socket
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxseg.growing import GrowingFile
from jaxseg.trouble import Troubles


def event_files(folder: Path) -> list[Path]:
    """Those that runs in this folder wrote, in their order."""
    return sorted(folder.glob("events.out.tfevents.*.jaxseg-*"))


class Board:
    """One event file, begun with its first event.

    tensorboardX's own `SummaryWriter` hands events to a thread, and its `flush` does not wait for that; two of them
    begun in the same second write to one file; and a full disk ends the thread, and then, without a word, the run.
    """

    def __init__(self, folder: Path, troubles: Troubles, *, step: int) -> None:
        """A TensorBoard that is looking on forgets what it has read past `step`."""
        self.folder, self.troubles, self.step = folder, troubles, step
        self.file: GrowingFile | None = None

    def scalar(self, name: str, value: float | int, step: int) -> None:
        """A point of a curve."""
        from tensorboardX import summary

        self.write(step=step, summary=summary.scalar(name, value))

    def image(self, name: str, panel: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """A picture."""
        from tensorboardX import summary

        self.write(step=step, summary=summary.image(name, panel, dataformats="HWC"))

    def write(self, **what: Any) -> None:
        if self.file is None:
            self.file = self.begin()
        self.file.write(framed(**what))

    def begin(self) -> GrowingFile:
        from tensorboardX.proto.event_pb2 import SessionLog  # pyright: ignore[reportAttributeAccessIssue]  made at import

        number = 1 + max((int(path.suffix.rpartition("-")[2]) for path in event_files(self.folder)), default=0)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.jaxseg-{number:03d}"
        file = GrowingFile(self.folder / name, self.troubles)
        file.write(framed(file_version="brain.Event:2"))
        if self.step:
            file.write(framed(step=self.step + 1, session_log=SessionLog(status=SessionLog.START)))
        return file

    def secure(self) -> None:
        """Wait until all of it is on disk.

        Raises:
            OSError: if the disk refuses it.
        """
        if self.file is not None:
            self.file.secure()

    def close(self) -> None:
        """With all that the disk took."""
        if self.file is not None:
            self.file.close()


def framed(**what: Any) -> bytes:
    """An event of this moment, as event files hold it: its length and it, each with a checksum."""
    from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]  made at import
    from tensorboardX.record_writer import masked_crc32c

    event = Event(wall_time=time.time(), **what).SerializeToString()
    length = struct.pack("<Q", len(event))
    return b"".join((length, struct.pack("<I", masked_crc32c(length)), event, struct.pack("<I", masked_crc32c(event))))
