"""What the machine can do at most, measured."""

import time
from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp

ON_GPU = jax.default_backend() == "gpu"
SIDE = 8192 if ON_GPU else 1024
BYTES = 2**32 if ON_GPU else 2**27
REPEATS = 10


@cache
def matrix_peak(dtype: str) -> float:
    """FLOP/s of a large square matrix product, the best of ten."""
    a = jax.random.normal(jax.random.key(0), (SIDE, SIDE), jnp.dtype(dtype))
    return 2 * SIDE**3 / best(jax.jit(jnp.matmul), a, a)


@cache
def bandwidth() -> float:
    """Bytes/s, read and written, of the negation of a large array."""
    a = jnp.ones(BYTES // 4, jnp.float32)
    return 2 * BYTES / best(jax.jit(jnp.negative), a)


def best(function: Callable[..., jax.Array], *arguments: jax.Array) -> float:
    jax.block_until_ready(function(*arguments))
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
