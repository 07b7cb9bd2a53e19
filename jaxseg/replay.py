"""Runs a step again that a run stopped at, from the file that it left."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxseg.config import Config, differences, from_json, to_json
from jaxseg.diagnosis import Anatomy
from jaxseg.explanation import tables
from jaxseg.incident import Incident, read_incident, read_settings
from jaxseg.loop import compile_steps
from jaxseg.sharding import data_parallel
from jaxseg.step import StepResult
from jaxseg.unsound import diagnosis, dissect, listed, made_with, placed, summary


class Replay(NamedTuple):
    """A step that was run again: what was saved of it, and what it gave with these settings, here.

    `changed`: settings that differ from the file's, now and there. It shows itself as tables.
    """

    path: Path
    incident: Incident
    changed: dict[str, tuple[Any, Any]]
    result: StepResult
    anatomy: Anatomy
    why: str
    made: dict[str, str]

    @property
    def reproduced(self) -> bool:
        """Whether loss, gradient norm, counts and verdict are the file's, bit for bit."""
        ours, theirs = jax.tree.leaves(self.result), jax.tree.leaves(self.incident.result)
        return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(ours, theirs, strict=True))

    def __str__(self) -> str:
        there, here = (", ".join(f"{k} {v}" for k, v in made.items()) for made in (self.incident.made, self.made))
        lines = [
            f"{self.path}: step {self.incident.step}; images {listed(self.incident.image_ids)}",
            f"There: {summary(self.incident.result)} ({there})",
            f"Here:  {summary(self.result)} ({here})",
            *(f"  {name}: here {now!r}, there {then!r}" for name, (now, then) in self.changed.items()),
            "",
            tables(self.anatomy),
            "",
            self.why,
        ]
        if self.changed:
            lines.append("Other settings than the file's: it need not give the same.")
        elif self.reproduced:
            lines.append("Reproduced bit for bit.")
        else:
            lines.append("NOT reproduced bit for bit: another machine, number of devices or version rounds otherwise.")
        return "\n".join(lines)


def replay(path: Path | str, settings: Config | None = None) -> Replay:
    """Run the step in a file that a stopped run left; with other settings than the file's, if they are given.

    Raises:
        InputError: if it is no such file, is damaged, or the settings are of another network.
    """
    path = Path(path)
    saved = read_settings(path)
    config: Config = settings or from_json(saved)
    if config.model.out_channels is None:  # a run takes it from its data
        config = dataclasses.replace(config, model=config.model.clone(out_channels=saved["model"]["out_channels"]))
    layout = data_parallel(config.batch_size)
    compiled = compile_steps(config, layout)
    incident = read_incident(path, jax.eval_shape(compiled.create, jax.random.key(0)))
    state, batch = placed(incident.state, incident.batch, layout)
    anatomy = dissect(config, layout, state, batch)
    _, result = compiled.train(state, batch)
    result = jax.device_get(result)
    why = diagnosis(config, anatomy, result, incident.state)
    changed = differences(to_json(config), saved)
    return Replay(path, incident, changed, result, anatomy, why, made_with(layout))
