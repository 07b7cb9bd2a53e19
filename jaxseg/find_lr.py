"""`python -m jaxseg.find_lr --config FILE.py`: a learning rate, by a short training with a rising one."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from matplotlib.figure import Figure

from jaxseg.compile_cache import keep_compiled
from jaxseg.config import Arguments, Config, parse
from jaxseg.data.loader import train_batches
from jaxseg.data.samples import open_split
from jaxseg.errors import InputError, told_plainly
from jaxseg.exhaustion import memory_told
from jaxseg.guard import Guard
from jaxseg.loop import compile_steps
from jaxseg.optim import at_rate
from jaxseg.plan import fitted
from jaxseg.plots import BLUE, DPI, FAINT, GREY, ORANGE, text_style, write_figure
from jaxseg.progress import progress_bar
from jaxseg.rates import Sweep, has_diverged, rising
from jaxseg.run import write_json
from jaxseg.sharding import data_parallel


@dataclass(frozen=True)
class FindArguments(Arguments):
    """Find a learning rate: train anew while it rises, until the loss diverges. Nothing of it is kept but a plot.

    Attributes:
        out: the folder for learning_rate.png and learning_rate.json.
        low: the first learning rate.
        high: the last, if the loss does not diverge before.
        updates: from the one to the other.
    """

    out: Path = Path("learning_rate")
    low: float = 1e-6
    high: float = 1.0
    updates: int = 100


def main(argv: list[str] | None = None) -> None:
    """The command."""
    with told_plainly():
        a = parse(FindArguments, "python -m jaxseg.find_lr", argv)
        keep_compiled()
        sweep = find_lr(a.settings, low=a.low, high=a.high, updates=a.updates)
        save_sweep(a.out / "learning_rate.png", sweep)
        write_json(a.out / "learning_rate.json", to_json(sweep))
        print(sweep.why)
        if sweep.suggestion is not None:
            print(f"To train with it: --optimizer.learning-rate {sweep.suggestion:.2g}")
        print(f"Plot and numbers: {a.out}/learning_rate.png, learning_rate.json")


def find_lr(config: Config, *, low: float = 1e-6, high: float = 1.0, updates: int = 100) -> Sweep:
    """Train from new weights with the config's data, loss, optimiser and augmentation, at a rate that rises.

    Raises:
        InputError: for data, settings or rates that can't be used.
    """
    if not 0 < low < high < np.inf:
        raise InputError(f"--low {low:g} --high {high:g}: expected rates above 0, the first lower.")
    if updates < 20:
        raise InputError(f"--updates {updates}: fewer than 20 show nothing.")
    config.check()
    train = open_split(config.data, "train")
    config = fitted(config, train)
    config = dataclasses.replace(config, ema=None, guard=Guard())
    rate, layout = rising(low, high, updates), data_parallel(config.batch_size)
    optimizer = at_rate(config.optimizer, rate, clip_norm=config.clip_norm, accumulate=config.accumulate)
    compiled = compile_steps(config, layout, optimizer=optimizer)
    losses: list[float] = []
    state = compiled.create(jax.random.key(config.seed))
    with (
        memory_told(config, layout),
        train_batches(train, config.batch_size, seed=config.seed) as batches,
        progress_bar(updates, "rising learning rate") as bar,
    ):
        diverged = False
        while len(losses) < updates and not diverged:
            parts = []
            for _ in range(config.accumulate):
                state, result = compiled.train(state, layout.put(next(batches).batch))
                parts.append(float(result.loss))
            losses.append(float(np.mean(parts)))
            diverged = has_diverged(losses)
            bar.set_postfix_str(f"loss {losses[-1]:.4f}", refresh=False)
            bar.update()
    rates = low * (high / low) ** (np.arange(len(losses)) / (updates - 1))
    return Sweep(rates, np.asarray(losses, np.float64), diverged)


def to_json(sweep: Sweep) -> dict:
    """All numbers; a loss that is not finite is null."""
    losses = [loss if np.isfinite(loss) else None for loss in sweep.losses.tolist()]
    smooth = [loss if np.isfinite(loss) else None for loss in sweep.smooth.tolist()]
    return {
        "suggestion": sweep.suggestion,
        "steepest": sweep.steepest,
        "lowest": sweep.lowest,
        "diverged": sweep.diverged,
        "why": sweep.why,
        "rates": sweep.rates.tolist(),
        "losses": losses,
        "smoothed": smooth,
    }


def save_sweep(path: Path, sweep: Sweep) -> None:
    """The losses against the learning rate, with the suggestion."""
    figure = Figure(figsize=(7, 4), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.plot(sweep.rates, sweep.losses, color=GREY, lw=0.8, label="loss of a batch")
    axes.plot(sweep.rates, sweep.smooth, color=BLUE, lw=1.8, label="its mean")
    for rate, name, colour, line in (
        (sweep.suggestion, "suggested", ORANGE, "-"),
        (sweep.steepest, "steepest", FAINT, "--"),
    ):
        if rate is not None:
            axes.axvline(rate, color=colour, ls=line, lw=1.4, label=f"{name}: {rate:.2g}")
    finite = sweep.losses[np.isfinite(sweep.losses)]
    if len(finite):
        room = 0.05 * (finite[: max(1, len(finite) - 1)].max() - finite.min()) or 0.1
        axes.set_ylim(finite.min() - room, 2 * finite[0] - finite.min() + room)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate", fontsize=9, **text_style())
    axes.set_ylabel("training loss", fontsize=9, **text_style())
    axes.grid(color="#E4E4E4", lw=0.6)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    write_figure(path, figure)


if __name__ == "__main__":
    main()
