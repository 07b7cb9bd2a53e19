"""jaxseg's side: the steps that its loop runs, and the predictor that `jaxseg.load` gives."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from cases import Case

from jaxseg.arrays import Batch
from jaxseg.config import to_json
from jaxseg.loading import load
from jaxseg.loop import compile_steps
from jaxseg.predictor import Predictor
from jaxseg.sharding import data_parallel
from jaxseg.torch_weights import to_state_dict
from jaxseg.weights import own_weights, write_weights


class Ours:
    """A training: the compiled step with all that belongs to it, donation, guard and scores."""

    def __init__(self, case: Case) -> None:
        self.compiled = compile_steps(case.config, data_parallel(case.batch))
        self.state = self.compiled.create(jax.random.key(0))

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """As PyTorch loads them."""
        return to_state_dict(self.state.params, self.state.batch_stats)

    def step(self, batch: Batch) -> jax.Array:
        """The loss, not waited for; the batch lies in the host's memory."""
        self.state, result = self.compiled.train(self.state, self.compiled.layout.put(batch))
        return result.loss

    def wait(self) -> None:
        jax.block_until_ready(self.state)


def predictor_of(case: Case, folder: Path) -> Predictor:
    """An untrained network, saved and loaded as a user's is."""
    state = Ours(case).state
    description = {
        "model": to_json(case.config.model),
        "height": case.size[0],
        "width": case.size[1],
        "channels": 3,
        "scale": 1 / 255,
        "resize": "stretch",
        "mode": "binary",
        "classes": ["background", "foreground"],
        "threshold": 0.5,
    }
    write_weights(folder, own_weights(description, state.params, {}))
    return load(folder)


def peak_memory() -> int | None:
    """Bytes that arrays took at most on the accelerator; None without one."""
    statistics: dict[str, Any] = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("peak_bytes_in_use")
