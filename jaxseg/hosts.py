"""The processes that train one network together, mostly one a host: how they start, and what they tell one another."""

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import jax
from jax._src import distributed  # no public module has the store of keys and values; orbax takes it from here too

from jaxseg.errors import InputError

Meeting = Literal["auto"] | tuple[str, int, int]
"""Where processes meet: as the cluster's own variables say, or (address:port of the first, how many, which of them)."""

HEARTBEAT = 300
"""Seconds without one that JAX allows; `fate.py` notices earlier, but where all processes were held up."""
WEEK = 7 * 24 * 3600 * 1000
"""Milliseconds: longer than any process waits for another. What ends one ends all, see `fate.py`."""
Value = TypeVar("Value")
calls = itertools.count()


@contextmanager
def joined(meeting: Meeting | None) -> Iterator[None]:
    """Be one of the processes of a run, if there is a meeting. No device may have been touched before.

    Raises:
        InputError: if they do not find one another.
    """
    if meeting is None:
        yield
        return
    jax.config.update("jax_enable_preemption_service", False)  # it would hear SIGTERM in our place
    given = (None, None, None) if meeting == "auto" else meeting
    try:
        jax.distributed.initialize(*given, heartbeat_timeout_seconds=HEARTBEAT)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise InputError(
            f"--hosts: the processes do not meet: {str(error).splitlines()[0]}\n"
            "`auto` understands SLURM, Open MPI, Kubernetes and TPU pods. By hand, on 2 hosts, with the address of the "
            "first:\n  --hosts HOST:PORT 2 0\n  --hosts HOST:PORT 2 1"
        ) from error
    try:
        yield
    finally:
        jax.distributed.shutdown()  # when all have come to this: the first must not go before


def several() -> bool:
    """Whether this process has others beside it."""
    return count() > 1


def count() -> int:
    """Processes of the run."""
    return distributed.global_state.num_processes if jax.distributed.is_initialized() else 1


def index() -> int:
    """Which of them this is."""
    return distributed.global_state.process_id if jax.distributed.is_initialized() else 0


def first() -> bool:
    """The one that writes and speaks for all."""
    return index() == 0


def store() -> Any:
    """Keys and values that all processes see; the first one's process keeps them."""
    client = distributed.global_state.client
    assert client is not None, "of several processes only"
    return client


def from_first(make: Callable[[], Value]) -> Value:
    """What the first process makes, on all; as JSON on its way. All must come by here, as often and in one order."""
    if not several():
        return make()
    key = f"jaxseg/said/{next(calls)}"
    if first():
        value = make()
        store().key_value_set(key, json.dumps(value))
        return value
    return json.loads(store().blocking_key_value_get(key, WEEK))


def from_all(value: Any) -> list[Any]:
    """What each process gives, on all; as JSON on its way. All must come by here, as often and in one order."""
    if not several():
        return [value]
    key = f"jaxseg/given/{next(calls)}"
    store().key_value_set(f"{key}/{index()}", json.dumps(value))
    return [json.loads(store().blocking_key_value_get(f"{key}/{i}", WEEK)) for i in range(count())]


def first_before_others(make: Callable[[], Value]) -> Value:
    """What each process makes for itself; the others begin when the first has ended."""
    value = make() if first() else None
    from_first(lambda: None)
    return make() if value is None else value
