"""Where the things lie that jaxseg keeps for the next time, and can make again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$JAXSEG_CACHE`; else `jaxseg` in `$XDG_CACHE_HOME` or `~/.cache`. It may not exist, and may be deleted.

    Raises:
        RuntimeError: if the user has no home.
    """
    if named := os.environ.get("JAXSEG_CACHE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxseg"
