"""`Config`: everything a run depends on; from a Python file, the command line and JSON."""

import argparse
import dataclasses
import runpy
import sys
import traceback
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import optax
import tyro
from jaxtyping import Float32

from jaxseg.augment import Augment
from jaxseg.cadence import Checkpointing
from jaxseg.data.samples import Data
from jaxseg.ema import check_decay
from jaxseg.errors import InputError
from jaxseg.guard import Guard
from jaxseg.logs import Logs
from jaxseg.losses import CrossEntropy, Dice, Focal, Loss, Lovasz, Sum, Tversky
from jaxseg.models.unet import UNet
from jaxseg.optim import SGD, Adam, AdamW, Lamb, Optimizer, rates, transformation
from jaxseg.schedules import Constant, Cosine, OneCycle, Polynomial, Schedule


@dataclass(frozen=True)
class Config:
    """A run. The defaults are the faithful recipe's.

    Attributes:
        data: which images and classes, and how they become arrays.
        model: the network.
        loss: what is minimised.
        optimizer: how.
        epochs: passes over the training images.
        batch_size: images a step, over all devices.
        seed: of the initial weights, the order of the images and their changes.
        patience: stop after so many epochs without a lower validation loss; None: never.
        logs: what is logged, and where.
        checkpointing: when checkpoints are saved.
        guard: what happens at a loss or a gradient that is not finite.
        schedule: the learning rate over the training; all but the constant one depend on `epochs`.
        clip_norm: gradients of a larger norm are scaled down to it; None: none are.
        accumulate: batches to an update, whose gradients are averaged.
        augment: random changes of the training images and their masks.
        least_steps: train for more epochs where `epochs` would give fewer steps than this, so that one config is right
            for few images and for many.
        ema: decay, such as 0.999, of an average of the weights, which is then what is validated, exported and used; it
            is less in the first steps. None: there is no average.
    """

    data: Data = field(default_factory=Data)
    model: UNet = field(default_factory=UNet)
    loss: Loss = field(default_factory=CrossEntropy)
    optimizer: Optimizer = field(default_factory=Adam)
    epochs: int = 10
    batch_size: int = 2
    seed: int = 0
    patience: int | None = None
    logs: Logs = field(default_factory=Logs)
    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    guard: Guard = field(default_factory=Guard)
    schedule: Schedule = field(default_factory=Constant)
    clip_norm: float | None = None
    accumulate: int = 1
    augment: Augment = field(default_factory=Augment)
    least_steps: int = 0
    ema: float | None = None

    def check(self) -> None:
        """Raise an InputError for a number that makes no sense."""
        self.checkpointing.check()
        self.guard.check()
        check_decay(self.ema)
        self.model.check()
        self.augment.check()
        self.transformation(steps=1)

    def transformation(self, steps: int) -> optax.GradientTransformation:
        """The whole update, where an epoch has so many steps.

        Raises:
            InputError: for a norm or a number of batches that is not positive.
        """
        return transformation(
            self.optimizer,
            self.schedule,
            clip_norm=self.clip_norm,
            accumulate=self.accumulate,
            steps=steps,
            epochs=self.epochs,
        )

    def learning_rates(self, steps: int) -> Float32[np.ndarray, " updates"]:
        """The learning rate of each update, where an epoch has so many steps."""
        return rates(self.optimizer, self.schedule, accumulate=self.accumulate, steps=steps, epochs=self.epochs)


LOSSES = (CrossEntropy, Dice, Tversky, Focal, Lovasz, Sum)
OPTIMIZERS = (Adam, AdamW, SGD, Lamb)
SCHEDULES = (Constant, Cosine, Polynomial, OneCycle)
CLASSES: tuple[type, ...] = (Config, Data, UNet, Augment, *LOSSES, *OPTIMIZERS, *SCHEDULES, Logs, Checkpointing, Guard)
"""What `from_json` builds: these and nothing else."""

MAY_CHANGE = (
    "epochs",
    "least_steps",
    "logs",
    "checkpointing",
    "guard",
    "data.threads",
    "data.workers",
    "data.retries",
    "data.read_timeout",
    "data.cache",
    "data.cache_folder",
)
"""Settings that may differ when a run goes on; they change no number of it."""


def load_config(path: Path) -> Config:
    """Run a Python file and take its `config`.

    Raises:
        InputError: if it is missing, fails (with its own traceback), or defines no `config`.
    """
    if not path.is_file():
        raise InputError(f"--config {path}: no such file. Give a Python file that defines config = jaxseg.Config(...).")
    try:
        found = runpy.run_path(str(path)).get("config")
    except Exception as error:  # whatever a user's file raises is shown as theirs
        raise InputError(f"--config {path} failed:\n{own_traceback(error, path)}") from error
    if not isinstance(found, Config):
        what = "defines no `config`" if found is None else f"defines `config` as a {type(found).__name__}"
        raise InputError(f"--config {path} {what}: it must end in config = jaxseg.Config(...).")
    return found


def own_traceback(error: Exception, path: Path) -> str:
    """The traceback from the user's file on, without the frames that led there."""
    trace = traceback.TracebackException.from_exception(error)
    own = [place for place, frame in enumerate(trace.stack) if Path(frame.filename) == path]
    trace.stack = traceback.StackSummary.from_list(trace.stack[own[0] :] if own else [])
    return "".join(trace.format(chain=False)).rstrip()


def fields_of(value: Any) -> dict[str, Any]:
    """A dataclass's own settings; flax adds `parent` and `name` to a module's."""
    return {
        f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init and f.name not in ("parent", "name")
    }


def to_json(value: Any) -> Any:
    """A config, or a part of one, as JSON: an object with its class's name, and its settings."""
    if dataclasses.is_dataclass(value):
        settings = {name: to_json(setting) for name, setting in fields_of(value).items()}
        return {"class": type(value).__name__, **settings}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_json(content: Any) -> Any:
    """What `to_json` wrote. Only jaxseg's own settings classes are built.

    Raises:
        InputError: for another class, or a setting that the class has not.
    """
    by_name = {c.__name__: c for c in CLASSES}
    settings = dict(content)
    name = settings.pop("class", None)
    if name not in by_name:
        raise InputError(f"Expected one of the classes {', '.join(by_name)}, found {name!r}. Give --config FILE.py.")
    hints = typing.get_type_hints(by_name[name])
    known = fields_of(by_name[name]())
    if unknown := sorted(set(settings) - set(known)):
        raise InputError(f"{name} has no setting {', '.join(unknown)}: was it written by another version of jaxseg?")
    return by_name[name](**{key: decode(setting, hints[key]) for key, setting in settings.items()})


def decode(value: Any, hint: Any) -> Any:
    if isinstance(value, dict):
        return from_json(value)
    if isinstance(value, list):
        return tuple(decode(item, None) for item in value)
    if isinstance(value, str) and (hint is Path or Path in typing.get_args(hint)):
        return Path(value)
    return value


def differences(ours: Any, theirs: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Settings in which two configs, as JSON, differ: dotted name to both values."""
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        return {} if ours == theirs else {prefix: (ours, theirs)}
    found: dict[str, tuple[Any, Any]] = {}
    for key in dict.fromkeys([*ours, *theirs]):
        found |= differences(ours.get(key), theirs.get(key), f"{prefix}.{key}" if prefix else key)
    return found


@dataclass(frozen=True)
class Arguments:
    """The command line of a command that takes a config; commands add their own flags.

    Attributes:
        config: a Python file that ends in `config = jaxseg.Config(...)`.
        settings: each setting of the config, overridden by name.
    """

    config: Path | None = None
    settings: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)


Command = TypeVar("Command", bound=Arguments)


def parse(command: type[Command], prog: str, argv: Sequence[str] | None = None, start: Config | None = None) -> Command:
    """Parse a command line; what the config file says is the default of each setting, or `start` without a file.

    Unknown flags end the program with status 2 and suggestions.

    Raises:
        InputError: if no config is given, or it can't be loaded.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", type=Path)
    path = finder.parse_known_args(words)[0].config
    default = command(config=path, settings=load_config(path) if path else start or Config())
    arguments = tyro.cli(
        command,
        default=default,
        args=words,
        prog=prog,
        description=command.__doc__,
        config=(tyro.conf.AvoidSubcommands,),  # the config's own loss and optimiser give the flags
    )
    if arguments.config is None and start is None:
        raise InputError(
            "give --config FILE.py, such as experiments/unet.py. The shortest config is the faithful recipe:\n"
            "  import jaxseg\n  config = jaxseg.Config()"
        )
    return arguments
