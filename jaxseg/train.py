"""`python -m jaxseg.train --config FILE.py`: trains a network, and leaves all one needs afterwards in one folder."""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from jaxseg import outcome
from jaxseg.checkpoint import Checkpoints, Progress
from jaxseg.compile_cache import keep_compiled
from jaxseg.config import MAY_CHANGE, Arguments, Config, differences, from_json, parse, to_json
from jaxseg.data.kept import check_room
from jaxseg.data.loader import eval_batches, steps_per_epoch, train_batches
from jaxseg.data.samples import Samples, open_split
from jaxseg.errors import InputError, told_plainly
from jaxseg.initial import Initial, read_initial, started_from
from jaxseg.logs import RunLog, append
from jaxseg.loop import Compiled, Shown, compile_steps, evaluate_all, train_epoch
from jaxseg.metrics import Totals
from jaxseg.models.unet import check_size
from jaxseg.progress import progress_bar
from jaxseg.run import RunFolder, read_lines, write_json
from jaxseg.scores.threshold import choose_threshold, trained
from jaxseg.sharding import data_parallel
from jaxseg.step import TrainState
from jaxseg.story import collapse_watcher, introduce, loss_watcher, report, tell_faults


@dataclass(frozen=True)
class TrainArguments(Arguments):
    """Train a network. The same command again goes on where it stopped.

    Attributes:
        workdir: the run's folder; None: runs/<name of the config file>.
        init: weights to start from: a run, a converted folder, a .pth or a .safetensors.
    """

    workdir: Path | None = None
    init: Path | None = None


def main(argv: list[str] | None = None) -> None:
    """The command."""
    with told_plainly():
        arguments = parse(TrainArguments, "python -m jaxseg.train", argv)
        assert arguments.config is not None
        keep_compiled()
        fit(arguments.settings, arguments.workdir or Path("runs") / arguments.config.stem, arguments.init)


def fit(config: Config, workdir: Path | str, init: Path | str | None = None) -> RunFolder:
    """Train as `config` says, into `workdir`; what is there of the same run is gone on with.

    A new run starts from the weights of `init`, if given: a run, a converted folder, a `.pth` or a `.safetensors`. A
    first or last layer for other channels or classes starts afresh, which is told.

    Raises:
        InputError: for data, sizes, settings or weights that can't be used, or a folder that holds another run.
    """
    folder = RunFolder(Path(workdir))
    config = as_begun(config, folder)
    faults = {fault["image_id"]: fault["error"] for fault in read_lines(folder.faults)}
    train = open_split(config.data, "train", known_faults=faults)
    val = open_split(config.data, "val", train.table, known_faults=faults)
    check_room([train.slots, val.slots])
    config = fitted(config, train)
    steps = steps_per_epoch(train, config.batch_size)
    initial = read_initial(Path(init), folder, config.model, config.data.channels) if init else None
    claim(folder, config, {"train": train.index.digest, "val": val.index.digest})
    layout = data_parallel(config.batch_size)
    introduce(config, folder, train, val, layout, steps)

    compiled = compile_steps(config, layout)
    note_faults = fault_writer(folder, faults)
    with Checkpoints(folder.checkpoints) as checkpoints:
        state, progress = start(config, compiled, checkpoints, initial)
        if finished(config, progress) and outcome.concluded(folder, progress.epoch):
            print(f"This run is finished: {progress.epoch} epochs. To go on: --epochs {config.epochs + 10}")
            return folder
        if progress.epoch:
            print(f"Going on after epoch {progress.epoch}, step {int(state.step)}.")
        description = outcome.describe(folder, config, train.table)
        watch_collapse = collapse_watcher()
        with (
            RunLog(folder, config.logs, step=int(state.step), config=to_json(config)) as log,
            train_batches(train, config.batch_size, seed=config.seed, start=int(state.step)) as batches,
        ):
            while not finished(config, progress):
                epoch = progress.epoch + 1
                with progress_bar(steps, f"epoch {epoch}/{config.epochs}") as bar:
                    watch = loss_watcher(log, config.logs.every)
                    state, training, clock = train_epoch(
                        state, batches, steps, compiled, bar=bar, on_faults=note_faults, on_step=watch
                    )
                pictured = epoch % config.logs.pictures_every == 0
                keep = config.logs.pictures if pictured else 0
                validation, shown = validate(state, val, config, compiled, note_faults, keep)
                progress = after_epoch(progress, int(state.step), validation.mean_loss)
                report(log, int(state.step), epoch, training, validation, clock, train.table.names)
                watch_collapse(training, validation, finished(config, progress))
                checkpoints.save(int(state.step), state, progress)
                if pictured:
                    outcome.show(folder, log, int(state.step), shown)
        checkpoints.wait()
        last = jax.device_get(state)
        best, _ = checkpoints.restore(progress.best_step, abstract_state(compiled))
    best = jax.device_get(best)
    choice = choose_threshold(trained(config, best, description), val, config.batch_size, note_faults, keep=8)
    print(choice.why or "The most probable class wins: there is no threshold.")
    outcome.conclude(
        folder, description, best=best, last=last, shown=choice.shown, threshold=choice.threshold, epoch=progress.epoch
    )
    tell_faults(folder)
    print(f"Done: {progress.epoch} epochs, the best after step {progress.best_step}. Everything is in {folder.path}/")
    return folder


def fitted(config: Config, train: Samples) -> Config:
    """The config with the network's output channels taken from the class table, and the image decoder decided.

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
    return dataclasses.replace(config, data=train.data, model=config.model.clone(out_channels=needed))


def as_begun(config: Config, folder: RunFolder) -> Config:
    """The config with the decoder that the run in this folder began with, where it is left open."""
    if config.data.decoder != "auto" or not folder.config.exists():
        return config
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, decoder=settings_of(folder)["config"]["data"]["decoder"])
    )


def settings_of(folder: RunFolder) -> dict[str, Any]:
    """What config.json says of the run in this folder."""
    content = json.loads(folder.config.read_text())
    content["config"]["data"].setdefault("decoder", "pillow")  # the only one, once
    content["config"] = to_json(from_json(content["config"]))  # settings that came later have their defaults
    return content


def claim(folder: RunFolder, config: Config, digests: dict[str, str]) -> None:
    """Write config.json, or make sure that the one that is there is of the same run.

    Raises:
        InputError: naming each setting that differs.
    """
    ours = {"config": to_json(config), "annotations": digests}
    if folder.config.exists():
        theirs = settings_of(folder)
        changed = {
            name.removeprefix("config."): values
            for name, values in differences(ours, theirs).items()
            if not any(f"{name}.".startswith(f"config.{free}.") for free in MAY_CHANGE)
        }
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


def start(
    config: Config, compiled: Compiled, checkpoints: Checkpoints, initial: Initial | None
) -> tuple[TrainState, Progress]:
    """A new state, with the initial weights if any; or the latest checkpoint's."""
    if saved := checkpoints.newest(abstract_state(compiled)):
        return saved
    state = compiled.create(jax.random.key(config.seed))
    if initial is not None:
        print("\n".join(initial.notes))
        state = started_from(state, initial, config.optimizer.build(), compiled.layout)
    return state, Progress(epoch=0, best_step=0, best_loss=math.inf, epochs_since_best=0, running={})


def abstract_state(compiled: Compiled) -> TrainState:
    """Shapes, types and shardings of the state."""
    shapes = jax.eval_shape(compiled.create, jax.random.key(0))
    return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=compiled.layout.state), shapes)


def finished(config: Config, progress: Progress) -> bool:
    """By the number of epochs, or by early stopping."""
    patience = math.inf if config.patience is None else config.patience
    return progress.epoch >= config.epochs or progress.epochs_since_best >= patience


def after_epoch(progress: Progress, step: int, val_loss: float) -> Progress:
    """The progress after one more epoch; a loss equal to the best counts as the best.

    While no loss was finite the newest step is the best: it is the only one whose checkpoint is sure to be kept.
    """
    if val_loss <= progress.best_loss and math.isfinite(val_loss):
        return Progress(progress.epoch + 1, step, val_loss, 0, running={})
    since = progress.epochs_since_best + 1 if progress.best_step else 0
    best_step = progress.best_step if math.isfinite(progress.best_loss) else step
    return Progress(progress.epoch + 1, best_step, progress.best_loss, since, running={})


def validate(
    state: TrainState,
    val: Samples,
    config: Config,
    compiled: Compiled,
    on_faults: Callable[[dict[int, str]], None],
    keep: int,
) -> tuple[Totals, list[Shown]]:
    """The whole validation split, and its first `keep` images with what was predicted."""
    with (
        eval_batches(val, config.batch_size) as batches,
        progress_bar(math.ceil(len(val) / config.batch_size), "validation") as bar,
    ):
        return evaluate_all(state, batches, compiled, bar=bar, on_faults=on_faults, keep=keep)


def fault_writer(folder: RunFolder, known: dict[int, str]) -> Callable[[dict[int, str]], None]:
    """Writes each new fault to faults.jsonl before its batch is used, so that a run that goes on does the same."""

    def write(faults: dict[int, str]) -> None:
        new = {image_id: text for image_id, text in faults.items() if image_id not in known}
        if new:
            with folder.faults.open("a") as file:
                for image_id, text in new.items():
                    append(file, {"image_id": image_id, "error": text})
            known.update(new)

    return write


if __name__ == "__main__":
    main()
