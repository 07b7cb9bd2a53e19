"""Small file systems of their own, to be filled, and mounted read-only."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class Disk:
    """A file system in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.covered: Path | None = None

    def fill(self, *, leave: int = 0) -> None:
        """To the last byte, or but for some."""
        with (self.path / "filler").open("ab", buffering=0) as file:
            for size in (2**16, 2**10, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass
        os.truncate(self.path / "filler", max(0, (self.path / "filler").stat().st_size - leave))

    def empty(self) -> None:
        """There is room again."""
        (self.path / "filler").unlink()

    def mount(self, options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)], check=True)

    def cover(self, folder: Path) -> None:
        """Stand in a folder's place, empty and read-only, as where a mount is lost."""
        subprocess.run(["mount", "-o", "remount,ro", str(self.path)], check=True)
        subprocess.run(["mount", "--bind", str(self.path), str(folder)], check=True)
        self.covered = folder

    def uncover(self) -> None:
        """The folder is there again."""
        if self.covered:
            subprocess.run(["umount", "--lazy", str(self.covered)], check=True)
            self.covered = None

    def unmount(self) -> None:
        self.uncover()
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Of 4 MiB."""
    disk = Disk(tmp_path / "disk")
    disk.path.mkdir()
    try:
        disk.mount("size=4m")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a file system")
    yield disk
    disk.unmount()
