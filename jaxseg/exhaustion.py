"""Out of memory: what was needed, what there is, and what would fit."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import jax

from jaxseg.config import Config
from jaxseg.data.room import memory_left, told
from jaxseg.errors import InputError
from jaxseg.fitting import ways_to_fit
from jaxseg.footprint import Footprint, Room, estimated, room_of
from jaxseg.sharding import Layout

OTHERS = 0.8
"""Of what the analysis says, where that should have fitted: something else takes memory too."""


class OutOfMemory(InputError):
    """A step does not fit; the message says what would."""

    status = 1


@contextmanager
def memory_told(config: Config, layout: Layout) -> Iterator[None]:
    """Around all that allocates on the devices: running out of memory becomes an OutOfMemory.

    The error may come late, where a result is fetched, so that it is caught here and not around each step. What there
    is, is asked before.
    """
    room = room_of(layout)
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not ran_out(error):
            raise
        print("Out of memory. Looking for what would fit: steps are compiled, none is run ...", file=sys.stderr)
        raise OutOfMemory("\n".join(["out of memory.", *explained(config, layout, room, error)])) from error


def ran_out(error: BaseException) -> bool:
    """Whether that is why: JAX has one type for all that goes wrong on a device, also when it compiles."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def explained(config: Config, layout: Layout, room: Room, error: BaseException) -> Iterator[str]:
    """Lines for the reader."""
    yield f"  {(str(error).strip() or 'MemoryError').splitlines()[0]}"
    if isinstance(error, MemoryError) and room.platform != "cpu":
        yield f"  It is the machine's memory, not the device's: {told(memory_left())} are left now."
        yield "  Less is taken with --data.threads 2, --data.workers 0, and without --data.cache memory."
        return
    found = estimated(config, layout)
    yield f"  {needs(config, found)}; {told(room.size)} is what {room.name}."
    usable = room.usable
    if found.needed <= usable:
        yield "  That should have fitted: something else takes memory, such as other programs."
        usable = int(found.needed * OTHERS)
    if found.state > usable:
        yield f"  The state alone (parameters and the optimiser's) needs {told(found.state)}: it fits at no batch size."
    if room.platform == "gpu":
        yield "  JAX takes 75 % of a GPU at its start; XLA_CLIENT_MEM_FRACTION=.95 in the environment takes more, and"
        yield "  XLA_PYTHON_CLIENT_PREALLOCATE=false as it needs it, which lets programs share a GPU but fragments it."
    yield from suggestions(config, layout, usable, found)


def needs(config: Config, found: Footprint) -> str:
    """What a step needs, in a clause."""
    data = config.data
    return (
        f"A step of batch size {config.batch_size} at {data.height} x {data.width} needs {told(found.needed)}: "
        f"state {told(found.state)}, batch {told(found.batch)}, between them {told(found.temporaries)}"
    )


def suggestions(config: Config, layout: Layout, usable: int, found: Footprint) -> Iterator[str]:
    """What would fit, with what each needs."""
    ways = [(way.flags, told(way.needed)) for way in ways_to_fit(config, layout, usable, found)]
    if not ways:
        yield "  No smaller batch, image or network of this kind fits."
        return
    yield f"  Each of these would fit into {told(usable)}, by the compiled step's own analysis:"
    longest = max(len(flags) for flags, _ in ways)
    yield from (f"    {flags.ljust(longest)}  {needed}" for flags, needed in ways)
    yield "  The run folder and its checkpoints are as they were. With other settings give another --workdir."
