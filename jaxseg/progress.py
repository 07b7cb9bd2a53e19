"""Progress bars, where somebody watches."""

import sys

from tqdm import tqdm


def progress_bar(total: int, description: str, *, delay: float = 0, unit: str = "it", done: int = 0) -> tqdm:
    """A bar on a terminal or in a notebook, gone when it is done; nothing where standard error is a file.

    It appears after `delay` seconds; `unit` "B" counts bytes; `done` of the total were done before.
    """
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(
        total=total,
        initial=done,
        desc=description,
        leave=False,
        disable=not watched,
        dynamic_ncols=True,
        delay=delay,
        unit=unit,
        unit_scale=unit == "B",
    )
