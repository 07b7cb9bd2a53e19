"""What a run does at a step that is not sound: it stops, with a file and a diagnosis; or it leaves out the update."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxseg.arrays import Batch
from jaxseg.config import Config, to_json
from jaxseg.data.loader import PADDING, Loaded
from jaxseg.diagnosis import Anatomy, assemble, first_fault, take_apart
from jaxseg.errors import InputError
from jaxseg.explanation import explain
from jaxseg.guard import Verdict
from jaxseg.incident import Incident, save_incident
from jaxseg.run import RunFolder
from jaxseg.sharding import Layout
from jaxseg.step import StepResult, TrainState
from jaxseg.trouble import advice, reason

MOST_IN_A_ROW = 100
"""Updates left out one after another, before a run gives up."""


class UnsoundStep(InputError):
    """A run stopped at a step whose loss or gradient can't be trusted; the message says where, why and what to do."""

    status = 1
    alike = False
    """Whether all processes of the run stop by it, at the same step."""


def stop_at(
    folder: RunFolder, config: Config, layout: Layout, state: TrainState, loaded: Loaded, result: StepResult
) -> UnsoundStep:
    """The error to raise: `state` is that before the step, with the guard's flag up. Saves the file first."""
    state = state._replace(health=state.health._replace(stopped=jnp.zeros((), bool)))
    saved = Incident(to_json(config), jax.device_get(state), loaded.batch, loaded.image_ids, result, made_with(layout))
    path = folder.nonfinite(saved.step)
    try:
        save_incident(path, saved)
        size = path.stat().st_size / 1e6
        kept = (
            f"Saved: {path} ({size:,.1f} MB), the state before the step, the batch and the settings. Layer by layer:\n"
            f"  python -m jaxseg.train --replay {path}"
        )
    except OSError as error:
        kept = f"The step could not be saved to {path}: {reason(error)}. {advice(error, folder.path)}"
    try:
        anatomy = dissect(config, layout, *placed(state, loaded.batch, layout))
        why = diagnosis(config, anatomy, result, saved.state)
    except jax.errors.JaxRuntimeError as error:  # such as no memory for it
        why = f"The step could not be taken apart here: {str(error).splitlines()[0]}"
    return UnsoundStep(
        f"step {saved.step}: {summary(result)}. This update was not made, and the run stops.\n"
        f"Images of its batch: {listed(loaded.image_ids)}\n{why}\n{kept}\n"
        "The same command goes on from the last checkpoint, and stops at this step again. To go on without this "
        "update, add --guard.action skip;\nother settings are another run: --workdir NEW, and to start from this one's "
        f"best weights, if it has any: --init {folder.path}"
    )


class Skips:
    """Tells each update that is left out: the first ten of this start, then each hundredth."""

    def __init__(self, total: int) -> None:
        """`total`: those of the run before."""
        self.total, self.here, self.in_a_row = total, 0, 0

    def note(self, step: int, image_ids: np.ndarray, result: StepResult) -> None:
        """One more.

        Raises:
            UnsoundStep: if there was no other for long, so that going on is in vain.
        """
        self.total, self.here, self.in_a_row = self.total + 1, self.here + 1, self.in_a_row + 1
        if self.here <= 10 or self.here % 100 == 0:
            tqdm.write(
                f"warning: step {step} is left out, {summary(result)}; images {listed(image_ids)}; {self.total} so far"
            )
        if self.in_a_row == MOST_IN_A_ROW:
            raise UnsoundStep(
                f"step {step}: the last {MOST_IN_A_ROW} updates were all left out, {summary(result)}. The weights "
                "change no more. The same command with --guard.action stop, from the last checkpoint, names the layer."
            )


def placed(state: TrainState, batch: Batch, layout: Layout) -> tuple[TrainState, Batch]:
    return jax.device_put(state, layout.state), jax.device_put(batch, layout.batch)


def dissect(config: Config, layout: Layout, state: TrainState, batch: Batch) -> Anatomy:
    """The step's arrays, described."""
    plain = partial(take_apart, model=config.model, loss=config.loss, augment=config.augment, seed=config.seed)
    return assemble(jax.jit(plain, in_shardings=(layout.state, layout.batch))(state, batch))


def diagnosis(config: Config, anatomy: Anatomy, result: StepResult, before: TrainState) -> str:
    """Where the first fault is, and why."""
    if result.verdict == Verdict.SOUND:
        return "The step is sound."
    cause = first_fault(anatomy, int(result.verdict))
    return explain(cause, anatomy, result, config, float(before.health.usual_norm))


def summary(result: StepResult) -> str:
    """Loss and gradient, in a few words."""
    said = {Verdict.SOUND: "sound", Verdict.NOT_FINITE: "not finite", Verdict.SPIKE: "a spike"}
    return (
        f"{said[Verdict(int(result.verdict))]}: loss {float(result.loss):.4g}, gradient norm {float(result.norm):.4g}"
    )


def listed(image_ids: np.ndarray) -> str:
    known = [str(image) for image in image_ids if image != PADDING]
    return " ".join(known[:64]) + (f" and {len(known) - 64} more" if len(known) > 64 else "")


def made_with(layout: Layout) -> dict[str, str]:
    """What the bits of a result depend on, beside its inputs."""
    devices = layout.mesh.devices.ravel()
    return {"devices": f"{len(devices)} x {devices[0].device_kind}", "jax": jax.__version__}
