"""`python -m jaxseg.train --config FILE.py`: trains a network, and leaves all one needs afterwards in one folder."""

import argparse
import dataclasses
import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import tyro

from jaxseg import fate, hosts, outcome
from jaxseg.allocator import keep_freed_memory
from jaxseg.checkpoint import Checkpoints, Progress
from jaxseg.compile_cache import keep_compiled
from jaxseg.config import Arguments, Config, from_json, parse, to_json
from jaxseg.data.samples import Data
from jaxseg.dry_run import tell_dry_run
from jaxseg.errors import InputError, counted, told_plainly
from jaxseg.exhaustion import memory_told
from jaxseg.faults import Faults
from jaxseg.hosts import Meeting
from jaxseg.incident import read_settings
from jaxseg.initial import started_from
from jaxseg.lock import sole_run
from jaxseg.logs import NoLog, RunLog
from jaxseg.loop import Compiled, abstract_state, compile_steps
from jaxseg.plan import Plan, make_plan
from jaxseg.replay import replay
from jaxseg.run import RunFolder, drop_unfinished_line, remove_unfinished
from jaxseg.schedules import Constant
from jaxseg.scores.threshold import choose_threshold, trained
from jaxseg.sharding import Layout, data_parallel, over_processes
from jaxseg.step import TrainState
from jaxseg.stopping import STATUS, Stopped, Stopping
from jaxseg.story import introduce, tell_faults
from jaxseg.suggesting.suggestion import suggest
from jaxseg.training import Training, finished


@dataclass(frozen=True)
class TrainArguments(Arguments):
    """Train a network. The same command again goes on where it stopped.

    Attributes:
        workdir: the run's folder; None: runs/<name of the config file>.
        init: weights to start from: a run, a converted folder, a .pth or a .safetensors.
        hosts: one of several processes that train together: where they meet. `auto`: as SLURM, Open MPI, Kubernetes or
            the TPU pod say; else the first one's HOST:PORT, how many they are, and which of them this is, from 0.
        dry_run: train nothing; compile, time a few steps, and tell what the run would take. Exit status 1: too much.
        suggest: a data set's folder, or the JSON of its training annotations: train nothing; write a config that suits
            it and this machine's memory, each setting with its reason, to the file that --config names. `--data.*` say
            more of the data, and stay as given.
        replay: the file of a step that a run stopped at (nonfinite-STEP.npz): run it again, and nothing else. No data
            and no --config are needed; other settings show whether they mend it.
    """

    workdir: Path | None = None
    init: Path | None = None
    hosts: Meeting | None = None
    dry_run: bool = False
    suggest: Path | None = None
    replay: Path | None = None


@dataclass(frozen=True)
class SuggestArguments:
    """Write a config that suits a data set and this machine's memory, each setting with its reason.

    Attributes:
        suggest: the data set's folder, or the JSON of its training annotations.
        config: the file to write; None: named by the data set.
        data: more of the data; what is given stays.
    """

    suggest: Path
    config: Path | None = None
    data: Data = field(default_factory=Data)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    with told_plainly(status=1):
        words = sys.argv[1:] if argv is None else argv
        if asked_for(words, "--suggest"):
            tell_suggestion(words)
            return
        arguments = parse(TrainArguments, "python -m jaxseg.train", words, start=replayed(words))
        if arguments.hosts is not None and (arguments.dry_run or arguments.replay):
            raise InputError("--dry-run and --replay are of one process: leave out --hosts.")
        keep_compiled()
        keep_freed_memory()
        if arguments.replay:
            print(replay(arguments.replay, arguments.settings))
            return
        assert arguments.config is not None
        workdir = arguments.workdir or Path("runs") / arguments.config.stem
        if arguments.dry_run:
            tell_dry_run(arguments.settings, workdir)
            return
        with hosts.joined(arguments.hosts):
            try:
                fit(arguments.settings, workdir, arguments.init)
            except Stopped as stopped:
                if hosts.first():
                    print(stopped, file=sys.stderr)
                raise SystemExit(STATUS) from None


def replayed(words: Sequence[str]) -> Config | None:
    """The settings in the file to replay, which then are the defaults."""
    path = asked_for(words, "--replay")
    return from_json(read_settings(path)) if path else None


def asked_for(words: Sequence[str], flag: str) -> Path | None:
    """The path that a flag gives, before the settings are known."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument(flag, dest="path", type=Path)
    return finder.parse_known_args(words)[0].path


def tell_suggestion(words: Sequence[str]) -> None:
    """Choose settings for a data set, print them with their reasons, and write them to a file.

    Raises:
        InputError: if the data can't be used, the file is there already, or settings are given that are no data's.
    """
    arguments = tyro.cli(
        SuggestArguments, args=words, prog="python -m jaxseg.train", description=SuggestArguments.__doc__
    )
    place, data = arguments.suggest, arguments.data
    where = {"train_json": place} if place.is_file() else {"root": place}
    keep = [name for name in vars(data) if f"--data.{name.replace('_', '-')}" in {word.split("=")[0] for word in words}]
    found = suggest(dataclasses.replace(data, **where), keep)
    path = found.write(arguments.config or Path(f"{found.name}.py"))
    print(f"{found}\n\nWritten to {path}, with the reasons. To see what it takes, and to train:")
    print(f"  python -m jaxseg.train --config {path} --dry-run\n  python -m jaxseg.train --config {path}")


def fit(config: Config, workdir: Path | str, init: Path | str | None = None) -> RunFolder:
    """Train as `config` says, into `workdir`; what is there of the same run is gone on with.

    A new run starts from the weights of `init`, if given: a run, a converted folder, a `.pth` or a `.safetensors`. A
    first or last layer for other channels or classes starts afresh, which is told.

    Ctrl-C and SIGTERM stop it where nothing is lost. After `jax.distributed.initialize` it is one run of all processes:
    each calls this with the same settings, and a workdir that all see.

    Raises:
        InputError: for data, sizes, settings or weights that can't be used, or a folder that holds another run, or one
            that is still going on.
        Stopped: a KeyboardInterrupt: it was asked to stop, and the text says what is saved. The same call goes on.
    """
    folder = RunFolder(Path(workdir))
    with fate.shared(), Stopping() as stopping, sole_run(folder.path) if hosts.first() else nullcontext():
        if hosts.first():
            remove_unfinished(folder.path, ".*")
            drop_unfinished_line(folder.faults)
        plan = hosts.first_before_others(lambda: make_plan(config, folder, Path(init) if init else None))
        train(
            plan, over_processes(config.batch_size) if hosts.several() else data_parallel(config.batch_size), stopping
        )
    return folder


def train(plan: Plan, layout: Layout, stopping: Stopping) -> None:
    """What is left of the run."""
    config, folder = plan.config, plan.folder
    introduce(plan, layout)
    compiled = compile_steps(config, layout, plan.steps)
    with Checkpoints(folder.checkpoints) as checkpoints, fate.reported(), memory_told(config, layout):
        state, progress = start(plan, compiled, checkpoints)
        if finished(config, progress) and hosts.from_first(lambda: outcome.concluded(folder, progress.epoch)):
            more = f" To go on: --epochs {config.epochs + 10}" if isinstance(config.schedule, Constant) else ""
            print(f"This run is finished: {progress.epoch} epochs.{more}")
            return
        description = hosts.from_first(lambda: outcome.describe(folder, config, plan.train.table))
        lengths = progress.running.get("logs", {})
        with (RunLog if hosts.first() else NoLog)(
            folder,
            config.logs,
            step=int(state.step),
            lengths=lengths,
            config=to_json(config),
            troubles=checkpoints.troubles,
        ) as log:
            training = Training(plan, compiled, checkpoints, log, stopping, state, progress)
            training.run()
        progress, last = training.progress, jax.device_get(training.state)
        stopping.saved = "All epochs are trained and saved; the threshold and the last files are still to come."
        best = jax.device_get(checkpoints.best(progress.best_step, abstract_state(compiled)) or last)
    hosts.from_first(lambda: conclude(plan, description, best, last, progress))


def conclude(plan: Plan, description: dict[str, Any], best: TrainState, last: TrainState, progress: Progress) -> None:
    """After the last epoch; the first process does it alone."""
    config, folder = plan.config, plan.folder
    faults = Faults(folder.faults)  # with those that other processes have found
    on_faults = partial(faults.note, "val", int(last.step))
    choice = choose_threshold(trained(config, best, description), plan.val, config.batch_size, on_faults, keep=8)
    print(choice.why or "The most probable class wins: there is no threshold.")
    outcome.conclude(
        folder, description, best=best, last=last, shown=choice.shown, threshold=choice.threshold, epoch=progress.epoch
    )
    tell_faults(faults)
    if last.health.skipped:
        print(f"{counted(int(last.health.skipped), 'update')} left out: not finite, or a spike (metrics.jsonl).")
    print(f"Done: {progress.epoch} epochs, the best after step {progress.best_step}. Everything is in {folder.path}/")


def start(plan: Plan, compiled: Compiled, checkpoints: Checkpoints) -> tuple[TrainState, Progress]:
    """The newest checkpoint's state; or a new one, with the initial weights if any."""
    config, initial = plan.config, plan.initial
    if saved := checkpoints.newest(abstract_state(compiled)):
        state, progress = saved
        if not finished(config, progress):
            print(f"Going on after epoch {progress.epoch}, step {int(state.step)}.")
        return saved
    state = compiled.create(jax.random.key(config.seed))
    if initial is not None:
        print("\n".join(initial.notes))
        state = started_from(state, initial, config.transformation(plan.steps), compiled.layout)
    return state, Progress(epoch=0, best_step=0, best_loss=math.inf, epochs_since_best=0, running={})


if __name__ == "__main__":
    main()
