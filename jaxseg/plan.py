"""What a run will do: its samples, its settings fitted to them, and the folder that is its own."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

from jaxseg import hosts
from jaxseg.config import MAY_CHANGE, Config, differences, from_json, to_json
from jaxseg.data.census import class_pixels
from jaxseg.data.kept import check_room
from jaxseg.data.loader import steps_per_epoch
from jaxseg.data.samples import Samples, open_split
from jaxseg.errors import InputError
from jaxseg.faults import Faults
from jaxseg.initial import Initial, read_initial
from jaxseg.losses import measured_as, waits_for_data, with_measured
from jaxseg.models.prior import shares_of
from jaxseg.models.unet import check_size
from jaxseg.run import RunFolder, write_json
from jaxseg.schedules import Constant


class Plan(NamedTuple):
    """All that is known before the first step.

    Attributes:
        steps: in an epoch.
        faults: images that the run has found unreadable, as far as it has come, and why.
        initial: the weights to start from, if not at random.
    """

    config: Config
    folder: RunFolder
    train: Samples
    val: Samples
    steps: int
    faults: Faults
    initial: Initial | None


def make_plan(config: Config, folder: RunFolder, init: Path | None) -> Plan:
    """Read the data and claim the folder.

    Raises:
        InputError: for data, sizes, settings or weights that can't be used, or a folder that holds another run.
    """
    config.check()
    config = as_begun(config, folder)
    faults = Faults(folder.faults)
    train = open_split(config.data, "train", known_faults=faults.known["train"])
    val = open_split(config.data, "val", train.table, known_faults=faults.known["val"])
    check_room([train.slots, val.slots])
    config = fitted(config, train)
    steps = steps_per_epoch(train, config.batch_size)
    initial = read_initial(init, folder, config.model, config.data.channels) if init else None
    claim(folder, config, {"train": train.index.digest, "val": val.index.digest})
    return Plan(config, folder, train, val, steps, faults, initial)


def fitted(config: Config, train: Samples) -> Config:
    """The config with the network's output channels taken from the class table; decoder, class weights, epochs decided.

    Raises:
        InputError: if they disagree, or the network can't take the size.
    """
    check_size(config.data.height, config.data.width, config.model.stride)
    needed, given = train.table.out_channels, config.model.out_channels
    if given not in (None, needed):
        names = ", ".join(f"{i} {name}" for i, name in enumerate(train.table.names))
        raise InputError(
            f"model.out_channels is {given}; data.mode {config.data.mode!r} with the classes {names} needs {needed}. "
            "Leave it out, and it is taken from the classes."
        )
    loss, prior = config.loss, config.model.prior
    if waits_for_data(loss) or prior == "auto":
        pixels = class_pixels(train)
        loss, prior = with_measured(loss, pixels), shares_of(pixels) if prior == "auto" else prior
        print(f"Measured on the training masks: {loss}" + (f", prior {prior}" if prior else ""))
    steps = steps_per_epoch(train, config.batch_size)
    epochs = enough_epochs(config, steps)
    if epochs != config.epochs:
        print(f"{epochs} epochs of {steps} steps, not {config.epochs}: least_steps is {config.least_steps:,}")
    return dataclasses.replace(
        config, data=train.data, model=config.model.clone(out_channels=needed, prior=prior), loss=loss, epochs=epochs
    )


def enough_epochs(config: Config, steps: int) -> int:
    """The epochs that are trained, where one has so many steps; of config.json's own number they are the same again.

    Raises:
        InputError: for a number of steps below 0.
    """
    if config.least_steps < 0:
        raise InputError(f"least_steps is {config.least_steps}: take at least 0.")
    return max(config.epochs, -(-config.least_steps // steps))


def as_begun(config: Config, folder: RunFolder) -> Config:
    """The config with the decoder and what was measured that the run in this folder began with, where left open."""
    if not folder.config.exists():
        return config
    theirs = from_json(settings_of(folder)["config"])
    if config.data.decoder == "auto":
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, decoder=theirs.data.decoder))
    if config.model.prior == "auto":
        config = dataclasses.replace(config, model=config.model.clone(prior=theirs.model.prior or "auto"))
    # Another loss is still another run: only the numbers that were measured are taken over.
    return dataclasses.replace(config, loss=theirs.loss) if measured_as(config.loss, theirs.loss) else config


def settings_of(folder: RunFolder) -> dict[str, Any]:
    """What config.json says of the run in this folder."""
    content = json.loads(folder.config.read_text())
    content["config"]["data"].setdefault("decoder", "pillow")  # the only one, once
    content["config"] = to_json(from_json(content["config"]))  # settings that came later have their defaults
    return content


def claim(folder: RunFolder, config: Config, digests: dict[str, str]) -> None:
    """Write config.json, or make sure that the one that is there is of the same run.

    Of several processes the first does; the others make sure that they see what it wrote, and mean the same.

    Raises:
        InputError: naming each setting that differs.
    """
    ours = {"config": to_json(config), "annotations": digests}
    if not hosts.first():
        check_same(folder, ours)
        return
    if folder.config.exists():
        theirs = settings_of(folder)
        changed = {
            name.removeprefix("config."): values
            for name, values in differences(ours, theirs).items()
            if not any(f"{name}.".startswith(f"config.{free}.") for free in MAY_CHANGE)
        }
        if not isinstance(config.schedule, Constant) and config.epochs != theirs["config"]["epochs"]:
            changed["epochs"] = (config.epochs, theirs["config"]["epochs"])  # the learning rate follows them
        fewer = config.epochs < theirs["config"]["epochs"] and folder.final_weights.exists()
        if fewer:
            changed["epochs"] = (config.epochs, theirs["config"]["epochs"])
        if changed:
            lines = "\n".join(f"  {name}: now {now!r}, there {there!r}" for name, (now, there) in changed.items())
            raise InputError(
                f"{folder.path} holds a run with other settings:\n{lines}\n"
                "Give another --workdir, or the settings of that run."
            )
    write_json(folder.config, ours)


def check_same(folder: RunFolder, ours: dict[str, Any]) -> None:
    """Compare with what the first process of the run has just written.

    Raises:
        InputError: if it is not there, or names each setting that differs.
    """
    if not folder.config.exists():
        raise InputError(
            f"{folder.path} does not hold what the first process wrote: give a --workdir that all hosts see as one."
        )
    changed = differences(ours, json.loads(folder.config.read_text()))
    own = tuple(f"config.{name}" for name in ("data.root", "data.threads", "data.workers", "data.cache"))
    lines = [
        f"  {name}: {there!r} there, {now!r} here" for name, (now, there) in changed.items() if not name.startswith(own)
    ]
    if lines:
        raise InputError("this process means another run than the first one:\n" + "\n".join(lines))
