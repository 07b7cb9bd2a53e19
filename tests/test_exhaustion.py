"""Running out of memory names what there is and what would fit, and leaves the run as it was."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest
from trained import tiny_run

import jaxseg
import jaxseg.exhaustion
import jaxseg.train
from jaxseg.data.room import memory_left
from jaxseg.exhaustion import OutOfMemory, explained, memory_told
from jaxseg.footprint import Room
from jaxseg.loop import Compiled
from jaxseg.sharding import data_parallel

EXHAUSTED = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 6291456 bytes.\nBufferAssignment stats: ..."
CONFIG = jaxseg.Config(
    data=jaxseg.Data(height=32, width=48), model=jaxseg.UNet(widths=(4, 8), out_channels=1), batch_size=4
)


def failing(monkeypatch: pytest.MonkeyPatch, step: int, error: Exception) -> None:
    """The training step raises when it is called for the n-th time."""
    real: Callable[..., Compiled] = jaxseg.train.compile_steps

    def compile_steps(*arguments: Any) -> Compiled:
        compiled, calls = real(*arguments), []

        def train(*operands: Any) -> Any:
            calls.append(0)
            if len(calls) == step:
                raise error
            return compiled.train(*operands)

        return compiled._replace(train=train)

    monkeypatch.setattr(jaxseg.train, "compile_steps", compile_steps)


def test_a_run_that_runs_out_tells_what_would_fit_and_goes_on_later(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxseg.exhaustion, "room_of", lambda _: Room(1_200_000, "the test has", "gpu"))
    with monkeypatch.context() as patch:
        failing(patch, 6, jax.errors.JaxRuntimeError(EXHAUSTED))
        with pytest.raises(OutOfMemory) as told:
            tiny_run(sample, tmp_path / "cut")
    text = str(told.value)
    assert "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 6291456 bytes." in text
    assert "BufferAssignment" not in text
    assert "A step of batch size 4 at 32 x 48 needs " in text
    assert "1.2 MB is what the test has" in text
    assert "XLA_CLIENT_MEM_FRACTION" in text
    assert "XLA_PYTHON_CLIENT_PREALLOCATE" in text
    assert "--batch-size " not in text, "each of four devices has one image"
    assert "--data.height " in text
    assert "--workdir" in text
    assert any(path.name.isdecimal() for path in (tmp_path / "cut" / "checkpoints").iterdir())
    tiny_run(sample, tmp_path / "cut")
    tiny_run(sample, tmp_path / "whole")
    for name in ("metrics.jsonl", "unet_model_final.pth"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_other_errors_of_a_device_pass_through() -> None:
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"),
        memory_told(CONFIG, data_parallel(4)),
    ):
        raise jax.errors.JaxRuntimeError("INTERNAL: the driver is gone")


def test_the_hosts_memory_is_told_apart_from_a_devices() -> None:
    text = "\n".join(explained(CONFIG, data_parallel(4), Room(10**12, "JAX has", "gpu"), MemoryError("no 8 GB")))
    assert "no 8 GB" in text
    assert "the machine's memory, not the device's" in text
    assert "--data.threads" in text


def test_a_step_that_should_have_fitted_blames_others_and_names_something_smaller() -> None:
    text = "\n".join(explained(CONFIG, data_parallel(1), Room(10**12, "there is", "cpu"), MemoryError()))
    assert "That should have fitted: something else takes memory" in text
    assert "--batch-size 3 " in text


def test_a_state_that_is_too_large_is_told() -> None:
    text = "\n".join(explained(CONFIG, data_parallel(1), Room(10_000, "there is", "gpu"), MemoryError()))
    assert "machine's memory" in text
    error = jax.errors.JaxRuntimeError(EXHAUSTED)
    text = "\n".join(explained(CONFIG, data_parallel(1), Room(10_000, "there is", "gpu"), error))
    assert "The state alone" in text
    assert "--batch-size" not in text


REAL = """
import resource, sys, jax, numpy as np, jaxseg
from jaxseg.arrays import Batch
from jaxseg.errors import told_plainly
from jaxseg.exhaustion import memory_told
from jaxseg.loop import compile_steps
from jaxseg.sharding import data_parallel

n = 128
config = jaxseg.Config(data=jaxseg.Data(height=128, width=128), model=jaxseg.UNet(widths=(8, 16), out_channels=1),
    batch_size=n)
layout = data_parallel(n)
compiled = compile_steps(config, layout)
state = compiled.create(jax.random.key(0))
batch = Batch(np.zeros((n, 128, 128, 3), np.uint8), np.zeros((n, 128, 128), np.uint8), np.ones(n, np.float32))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 800_000_000,) * 2)
with told_plainly(), memory_told(config, layout):
    state, result = compiled.train(state, jax.device_put(batch, layout.batch))
    jax.block_until_ready(result)
print("it fitted")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: a limit of the address space that JAX meets")
def test_the_real_allocator() -> None:
    ours = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run([sys.executable, "-c", REAL], env=ours, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "RESOURCE_EXHAUSTED: Out of memory allocating" in done.stderr
    line = next(line for line in done.stderr.splitlines() if "--batch-size" in line)
    assert 8 <= int(line.split()[1]) < 128


def test_what_is_left_knows_the_process_own_limit() -> None:
    code = (
        "import resource; from jaxseg.data.room import memory_left\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**26,) * 2); print(memory_left())"
    )
    left = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 2**25 < left <= 2**26 < memory_left()
