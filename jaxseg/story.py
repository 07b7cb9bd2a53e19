"""What a run tells of itself: its first lines, its losses, a row an epoch, the images it left out."""

import jax

from jaxseg import hosts
from jaxseg.collapse import Kind, collapses, shared_images
from jaxseg.config import Config
from jaxseg.data.samples import Samples
from jaxseg.data.twins import twins
from jaxseg.errors import counted
from jaxseg.faults import Faults
from jaxseg.guard import Health
from jaxseg.logs import RunLog
from jaxseg.loop import Clock
from jaxseg.metrics import Totals
from jaxseg.plan import Plan
from jaxseg.sharding import Layout

PATIENT: tuple[Kind, ...] = ("all background", "all foreground")


def introduce(plan: Plan, layout: Layout) -> None:
    """The first lines: what data, which classes, what network, on what, to where."""
    config, folder, train, val, steps = plan[:5]
    where = "the embedded sample, since no data.root is given" if config.data.uses_sample else "as given"
    print(f"Data ({where}): {train.files.json}")
    classes = train.table.told(train.index)
    print(f"{len(train)} training and {len(val)} validation images; classes: {classes}")
    if not train.sampling.plain:
        print(drawn(train, config, steps))
    for samples in (train, val):
        for line in samples.index.warnings():
            print(f"warning: {line}")
    for text in shared_images(twins(train, val), "training", "validation").values():
        print(f"warning: {text}")
    devices = layout.mesh.devices.ravel()
    print(
        f"{type(config.model).__name__} of widths {' '.join(map(str, config.model.widths))} at "
        f"{config.data.height} x {config.data.width}; batches of {config.batch_size}, {steps} steps an epoch; "
        f"{len(devices)} of {jax.device_count()} devices ({devices[0].device_kind})"
        f"{f', of {hosts.count()} processes' if hosts.several() else ''}"
    )
    print(f"Run folder: {folder.path}/")


def drawn(train: Samples, config: Config, steps: int) -> str:
    """What an epoch holds, where that is not each image once."""
    sampling, factors = train.sampling, train.sampling.factors
    parts = [f"from {len(sampling.positives)} images with the classes"]
    if config.data.crops > 1:
        parts.append(f"{config.data.crops} windows of each")
    if config.data.balance:
        parts.append(f"rare classes up to {factors.max() / config.data.crops:.1f} times as often")
    if config.data.negatives is not None:
        parts.append(f"{config.data.negatives:.1%} of them from {len(sampling.negatives)} images without")
    return f"An epoch draws {steps * config.batch_size} samples: " + "; ".join(parts)


def report(
    log: RunLog,
    step: int,
    epoch: int,
    training: Totals,
    validation: Totals,
    clock: Clock,
    names: tuple[str, ...],
    health: Health,
) -> None:
    """One epoch's numbers, to the logs and as a row on the terminal."""
    record: dict[str, float | int | None] = {"epoch": epoch}
    record |= {"gradient_norm": float(health.usual_norm), "skipped_updates": int(health.skipped)}
    for split, totals in (("train", training), ("val", validation)):
        scores = totals.scores
        record[f"{split}_loss"] = totals.mean_loss
        record |= {
            f"{split}_{name}": getattr(scores, name) for name in ("iou", "dice", "predicted_share", "true_share")
        }
        if len(names) > 2:
            record |= {f"{split}_iou_{name}": iou for name, iou in zip(names, scores.class_iou, strict=True)}
    log.numbers(step, record)
    log.clock(
        step,
        {
            "epoch_seconds": clock.seconds,
            "images_per_second": clock.images_per_second,
            "waiting_share": clock.waiting_share,
        },
    )
    if epoch == 1 or epoch % 20 == 1:
        print("epoch  train loss  val loss  val IoU  val Dice  predicted / true foreground  images/s  waiting for data")
    print(
        f"{epoch:5d}  {record['train_loss']:10.4f}  {record['val_loss']:8.4f}  {record['val_iou']:7.3f}  "
        f"{record['val_dice']:8.3f}  {record['val_predicted_share']:16.1%} / {record['val_true_share']:<8.1%}  "
        f"{clock.images_per_second:8.1f}  {clock.waiting_share:16.1%}",
        flush=True,
    )


class CollapseWatch:
    """Warns of each kind of collapse once, epoch by epoch.

    A young network may call everything background: that counts at the second epoch in a row, or the last.
    """

    def __init__(self, memory: dict[str, list[Kind]] | None = None) -> None:
        """`memory` is another's that stopped."""
        self.before: list[Kind] = memory["before"] if memory else []
        self.told: list[Kind] = memory["told"] if memory else []

    @property
    def memory(self) -> dict[str, list[Kind]]:
        """What was found in the epoch before, and what was told."""
        return {"before": self.before, "told": self.told}

    def look(self, training: Totals, validation: Totals, *, last: bool) -> None:
        """At one more epoch."""
        found: dict[Kind, str] = {}
        for split, totals in (("validation", validation), ("training", training)):
            for kind, text in collapsed(totals).items():
                if split == "validation" or kind not in PATIENT:
                    found[kind] = f"{split}: {text}"
        for kind, text in found.items():
            if kind not in self.told and (last or kind not in PATIENT or kind in self.before):
                print(f"warning: {text}", flush=True)
                self.told = [*self.told, kind]
        self.before = list(found)


def collapsed(totals: Totals) -> dict[Kind, str]:
    """What one epoch gives away, if it had pixels."""
    scores = totals.scores
    return collapses(scores.predicted_share, scores.true_share, loss=totals.mean_loss) if totals.pixels else {}


def tell_faults(faults: Faults) -> None:
    """At the end: what could not be read."""
    found = [(split, id_, fault) for split, known in faults.known.items() for id_, fault in known.items()]
    if found:
        print(f"Left out, as they could not be read: {counted(len(found), 'image')} ({faults.path}).")
        for split, id_, fault in found[:10]:
            print(f"  {split} image {id_}, from step {fault.step} on: {fault.error}")
