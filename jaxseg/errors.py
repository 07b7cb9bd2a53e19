"""Errors that the user can mend, told without a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxseg.trouble import REFUSALS, advice, kind, reason


class InputError(ValueError):
    """What was given can't be used; the message says what was expected, what was found, where, and what to do."""

    status = 2
    """Of a command that ends by it."""


class DataError(InputError):
    """The data set can't be used as it is; the message says where it is wrong and what to do."""


def counted(number: int, noun: str) -> str:
    """`1 image`, `1,200 images`, `2 categories`."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else several}"


@contextmanager
def told_plainly(status: int | None = None) -> Iterator[None]:
    """For the commands: an InputError becomes its message and this exit status, or its own.

    What a disk refuses becomes an advice and 1.
    """
    try:
        yield
    except OSError as error:
        if kind(error) not in REFUSALS:
            raise
        where = Path(error.filename or ".").absolute()
        print(f"error: {where}: {reason(error)}. {advice(error, where.parent)}", file=sys.stderr)
        raise SystemExit(1) from None
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(status or error.status) from None
