"""Does it learn? The original's recipe and a careful one in PyTorch, the original's and `best.py` in jaxseg.

    python experiments/benchmarks/learning ROOT --out learning.json

`ROOT` holds `coco-dev/` (COCO's layout; its class person) and `facade/` (window, vegetation, car, and the rest). Every
row trains with the same epochs, size and widths, from each of the seeds, on the same images in memory, and is scored by
the same code: the last weights, on the validation split, at the network's size and a threshold of 0.5, so that no row
chooses anything on what scores it. A run that is in the file already is not repeated; each is written when it is done.

The table gives mean and spread (standard deviation over the seeds). With `--ablation` also `best.py` with each of its
parts taken out. Seconds are from the call to the last weights, with compilation or its cache: compare them only where
nothing else ran. Needs PyTorch: pip install -e '.[torch]'.
"""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rows import OURS, PEERS, WITHOUT, Outcome, run
from subjects import subjects

from jaxseg.compile_cache import keep_compiled
from jaxseg.run import write_json

HEAD = ("", "IoU", "Dice", "boundary IoU", "loss", "seconds")


@dataclass(frozen=True)
class Arguments:
    """Train each recipe from several seeds, and compare.

    Attributes:
        root: the folder of both data sets.
        out: the numbers of each run; what is there is not run again.
        rows: which; None: the four recipes.
        ablation: `best.py` without each of its parts too.
        subjects: which data sets.
        seeds: that each row is trained from.
        widths: of the network.
        size: height and width of the images.
        longer: times as many epochs as the subjects have: where the images are smaller, in the same time.
    """

    root: Annotated[Path, tyro.conf.Positional]
    out: Path = Path("learning.json")
    rows: tuple[str, ...] | None = None
    ablation: bool = False
    subjects: tuple[str, ...] = ("person", "facade")
    seeds: tuple[int, ...] = (0, 1, 2)
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    size: int = 128
    longer: int = 1


def main() -> None:
    """The command."""
    a = tyro.cli(Arguments)
    keep_compiled()
    done: dict[str, list[float]] = json.loads(a.out.read_text()) if a.out.exists() else {}
    rows = a.rows or (*PEERS, *OURS, *(WITHOUT if a.ablation else ()))
    chosen = [subject for subject in subjects(a.root, a.size, a.longer) if subject.name in a.subjects]
    for subject in chosen:
        for seed in a.seeds:
            for row in rows:
                if (key := f"{subject.name}/{row}/{seed}") not in done:
                    done[key] = list(run(row, subject, a.widths, seed))
                    write_json(a.out, done)
                    print(key, Outcome(*done[key]))
    for subject in chosen:
        print(
            f"\n| {subject.name}, {subject.epochs} epochs | "
            + " | ".join(HEAD[1:])
            + " |\n|---" * 1
            + "|---:" * 5
            + "|"
        )
        for row in rows:
            outcomes = [done[f"{subject.name}/{row}/{seed}"] for seed in a.seeds]
            print(f"| {row} | " + " | ".join(map(mean_and_spread, zip(*outcomes, strict=True))) + " |")


def mean_and_spread(values: tuple[float, ...]) -> str:
    """Of the seeds."""
    digits = 3 if max(values) < 10 else 0
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


if __name__ == "__main__":
    main()
