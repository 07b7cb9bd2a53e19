"""The recipes: each trains on a data set from a seed, and is scored on the validation split by the same code."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from peer import CAREFUL, FAITHFUL, Arrays, Recipe
from peer import train as train_peer
from subjects import Subject

import jaxseg
from jaxseg.data.samples import Samples, open_split
from jaxseg.evaluate import score_model
from jaxseg.predictor import Predictor

EXPERIMENTS = Path(__file__).parents[2]
BEST = jaxseg.load_config(EXPERIMENTS / "best.py")

PEERS = {"original, PyTorch": FAITHFUL, "careful, PyTorch": CAREFUL}
OURS = {"original, jaxseg": jaxseg.load_config(EXPERIMENTS / "unet.py"), "best.py, jaxseg": BEST}
WITHOUT = {
    "cross-entropy alone": replace(BEST, loss=jaxseg.CrossEntropy()),
    "Dice in place of Tversky": replace(BEST, loss=jaxseg.Sum((jaxseg.CrossEntropy(), jaxseg.Dice()))),
    "without moving and recolouring": replace(BEST, augment=jaxseg.Augment(flip=0.5)),
    "without mirroring": replace(BEST, augment=replace(BEST.augment, flip=0.0)),
    "without normalisation": replace(BEST, model=BEST.model.clone(norm="none")),
    "without one cycle": replace(BEST, schedule=jaxseg.Constant()),
    "with an average of the weights": replace(BEST, ema=0.99),
    "that in place of one cycle": replace(BEST, ema=0.99, schedule=jaxseg.Constant()),
}
"""`best.py`, each time with a part taken out; and with one that was left out, since it brings nothing."""


class Outcome(NamedTuple):
    """Scores of the last weights on the validation split at the network's size, threshold 0.5; and seconds."""

    iou: float
    dice: float
    boundary_iou: float
    loss: float
    seconds: float


def run(name: str, subject: Subject, widths: tuple[int, ...], seed: int) -> Outcome:
    """Train once."""
    if name in PEERS:
        return run_peer(PEERS[name], subject, widths, seed)
    return run_ours((OURS | WITHOUT)[name], subject, widths, seed)


def run_ours(config: jaxseg.Config, subject: Subject, widths: tuple[int, ...], seed: int) -> Outcome:
    """As the command does: with validation, checkpoints, logs and the choice of a threshold."""
    config = replace(
        config,
        data=subject.data,
        model=config.model.clone(widths=widths),
        epochs=subject.epochs,
        least_steps=0,
        seed=seed,
        logs=jaxseg.Logs(every=10**6, pictures_every=10**6),
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        jaxseg.train.fit(config, folder)
        seconds = time.perf_counter() - began
        return scored(jaxseg.load(folder, "latest"), subject, seconds)


def run_peer(recipe: Recipe, subject: Subject, widths: tuple[int, ...], seed: int) -> Outcome:
    """In PyTorch; the weights reach the common scores through a `.pth`."""
    began = time.perf_counter()
    split = open_split(subject.data, "train")
    arrays, held = in_memory(split), in_memory(open_split(subject.data, "val", split.table))
    weights = train_peer(arrays, held, recipe, widths=widths, outputs=subject.outputs, epochs=subject.epochs, seed=seed)
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        torch.save(weights, path := Path(folder) / "weights.pth")
        foreign = jaxseg.Foreign(classes=subject.classes, height=subject.data.height, width=subject.data.width)
        return scored(jaxseg.load(path, foreign=foreign), subject, seconds)


def in_memory(samples: Samples) -> Arrays:
    """Every image and mask of a split."""
    pairs = [samples.at(position) for position in samples.positions.tolist()]
    return Arrays(np.stack([pair["image"] for pair in pairs]), np.stack([pair["mask"] for pair in pairs]))


def scored(model: Predictor, subject: Subject, seconds: float) -> Outcome:
    """On the validation split."""
    threshold = 0.5 if subject.outputs == 1 else None
    found = score_model(model, subject.data, at="network", threshold=threshold).scores
    if subject.outputs == 1:
        iou, dice, edge = (found[name].value for name in ("iou", "dice", "boundary_iou"))
    else:
        iou, dice = found["class_iou"].value, found["class_dice"].value
        edge = float(np.mean([found[f"boundary_iou/{label}"].value for label in range(1, subject.outputs)]))
    return Outcome(iou, dice, edge, loss_of(model, subject), seconds)


def loss_of(model: Predictor, subject: Subject) -> float:
    """Plain cross-entropy per pixel, whatever was trained with."""
    train = open_split(subject.data, "train")
    arrays = in_memory(open_split(subject.data, "val", train.table))
    total, pixels = 0.0, 0
    for image, mask in zip(*arrays, strict=True):
        probability = model.probabilities(image[None])[0].astype(np.float64)
        if subject.outputs == 1:
            probability = np.concatenate([1 - probability, probability], axis=-1)
        valid = mask != jaxseg.VOID
        right = np.take_along_axis(probability, np.where(valid, mask, 0)[..., None].astype(int), axis=-1)[..., 0]
        total -= float(np.log(np.clip(right[valid], 1e-12, 1)).sum())
        pixels += int(valid.sum())
    return total / pixels
