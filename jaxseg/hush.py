"""Silence for what orbax and its event loop print where a save fails, which is told in one line instead."""

import functools
import logging
import sys
import traceback
import warnings
from typing import Any


@functools.cache
def hush() -> None:
    """Leave out orbax's pages of traces where a save fails, and those of its event loop after that; we tell it."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(lambda record: not of_orbax(record))
    warnings.filterwarnings("ignore", "coroutine 'async_serialize", RuntimeWarning)
    shown = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        text = str(unraisable.exc_value)
        if text != "Event loop is closed" and not text.startswith("coroutine 'async_serialize"):
            shown(unraisable)

    sys.unraisablehook = hook


def of_orbax(record: logging.LogRecord) -> bool:
    trace = record.exc_info[2] if record.exc_info else None
    files = (frame.filename for frame in traceback.extract_tb(trace))
    return any("orbax" in text for text in (record.pathname, record.getMessage(), *files))
