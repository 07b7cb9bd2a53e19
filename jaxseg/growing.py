"""A file that only grows, and loses nothing to a full disk: what can't be written now is written later."""

import os
from pathlib import Path

from jaxseg.run import write_whole
from jaxseg.trouble import Troubles, warn


class GrowingFile:
    """Open for appending. Until `secure` has brought it to disk, what was written is in memory as well."""

    def __init__(self, path: Path, troubles: Troubles) -> None:
        """What is in the file already stays."""
        self.path, self.troubles = path, troubles
        self.handle = self.open()
        self.secured = os.fstat(self.handle).st_size
        self.unsecured = bytearray()
        self.written = 0

    def open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)

    def write(self, content: bytes) -> None:
        """At once, or, where the disk refuses it, with the next call that it lets through; that is told."""
        self.unsecured += content
        try:
            self.push()
        except OSError as error:
            self.tell(error)

    def secure(self) -> int:
        """Wait until everything is on disk; the file's length.

        Raises:
            OSError: if the disk refuses it. Nothing is lost: the next call tries again.
        """
        try:
            self.push()
            os.fsync(self.handle)
        except OSError as error:
            self.tell(error)
            self.rewind()
            raise
        self.secured += len(self.unsecured)
        self.unsecured, self.written = bytearray(), 0
        self.troubles.over(str(self.path))
        return self.secured

    def close(self) -> None:
        """What could not be written is lost now: `secure` before it."""
        os.close(self.handle)

    def push(self) -> None:
        """Write what is not in the file yet. A disk that fills up takes a part of it."""
        self.stay()
        while self.written < len(self.unsecured):
            self.written += os.write(self.handle, bytes(self.unsecured[self.written :]))

    def rewind(self) -> None:
        """After a failed fsync nobody knows what of it is on disk: it will be written again."""
        try:
            os.ftruncate(self.handle, self.secured)
            self.written = 0
        except OSError:  # then it stays as it is, and the rest follows it
            pass

    def stay(self) -> None:
        """Where the file was deleted under the run, put it back: while it is open its content is not lost."""
        if self.path.exists() and os.path.samestat(self.path.stat(), os.fstat(self.handle)):
            return
        content = os.pread(self.handle, self.secured + self.written, 0)
        write_whole(self.path, lambda file: file.write_bytes(content))
        old, self.handle = self.handle, self.open()
        os.close(old)
        warn(f"{self.path} was deleted or replaced under the run. It is written again, with all that it held.")

    def tell(self, error: OSError) -> None:
        then = "Its lines are kept in memory and written later; training goes on, without checkpoints until then."
        self.troubles.tell(str(self.path), error, self.path.parent, then)
