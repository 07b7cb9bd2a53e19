"""Compiled programs are kept on disk, so that the next start need not compile them again."""

import contextlib
import hashlib
import os
import platform
import warnings
import zlib
from pathlib import Path

import jax

from jaxseg.data.caches import cache_folder

MOST = 2**30
"""Bytes that may lie there at the start of a command; what was not used for longest goes first."""
LOOKED = ".looked-through"  # its time says up to when the programs are known to be whole
ZLIB, ZSTANDARD = b"\x78", b"\x28\xb5\x2f\xfd"  # how a program begins: JAX takes what is installed


def keep_compiled() -> None:
    """Let JAX keep what it compiles in `compiled` of jaxseg's cache folder; for commands, before anything is compiled.

    A user's own `JAX_COMPILATION_CACHE_DIR` stays; an empty one, or `JAX_ENABLE_COMPILATION_CACHE=false`, keeps
    nothing. A program that can't be read or written is compiled, without a word. A folder of another user's is left
    alone: who can write there can run code here.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or jax.config.values["jax_compilation_cache_dir"]:
        return
    try:
        folder = cache_folder() / "compiled" / machine()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return
    except (OSError, RuntimeError):  # read-only, full, or the user has no home
        return
    look_through(folder, MOST)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    warnings.filterwarnings("ignore", r"Error (reading|writing) persistent compilation cache", UserWarning)


def machine() -> str:
    """A name for machines that run the same instructions: a program is made for its processor."""
    try:
        with Path("/proc/cpuinfo").open() as file:  # of the first processor: hundreds take long to tell
            lines = file.read(2**14).split("\n\n")[0].splitlines()
        features = [line for line in lines if line.lower().startswith(("model name", "flags", "features"))]
    except OSError:
        features = [platform.processor()]
    return hashlib.sha256(repr((platform.machine(), features)).encode()).hexdigest()[:16]


def look_through(folder: Path, most: int) -> None:
    """Remove what a killed process left half-written, and of the rest what is more than `most` bytes.

    JAX writes in place and never replaces: half a program would stay for ever. Each is looked at once.
    """
    looked = folder / LOOKED
    programs = [(path, status) for path in folder.glob("*-cache") if (status := status_of(path))]
    with contextlib.suppress(OSError):
        since = status.st_mtime_ns if (status := status_of(looked)) else 0
        looked.touch()
        fresh = [path for path, status in programs if status.st_mtime_ns >= since]
        damaged = {path for path in fresh if not whole(path)}
        by_age = sorted(programs, key=lambda item: max(item[1].st_atime_ns, item[1].st_mtime_ns), reverse=True)
        total = 0
        for path, status in by_age:
            total += 0 if path in damaged else status.st_size
            if path in damaged or total > most:
                path.unlink(missing_ok=True)


def status_of(path: Path) -> os.stat_result | None:
    """None if it is not there: another process may tidy up too."""
    try:
        return path.stat()
    except OSError:
        return None


def whole(path: Path) -> bool:
    """False if what is compressed in it ends early or fails its checksum; zstandard's is not looked into."""
    try:
        content = path.read_bytes()
        if content.startswith(ZLIB):
            zlib.decompress(content)
        return content.startswith((ZLIB, ZSTANDARD))
    except (OSError, zlib.error):
        return False
