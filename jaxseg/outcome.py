"""What a run leaves beside its checkpoints and logs: descriptions, pictures, weights for PyTorch."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxseg.config import Config, to_json
from jaxseg.data.classes import ClassTable
from jaxseg.diagram import save_architecture
from jaxseg.logs import RunLog
from jaxseg.loop import Shown
from jaxseg.models.block import ACTIVATION_NAMES
from jaxseg.models.table import count_parameters, layer_table
from jaxseg.pictures import panel
from jaxseg.plots import save_loss_curves
from jaxseg.pth import write_pth
from jaxseg.run import RunFolder, read_lines, write_json, write_whole
from jaxseg.sheets import save_predictions
from jaxseg.step import SCALE, TrainState
from jaxseg.torch_weights import to_state_dict


def describe(folder: RunFolder, config: Config, table: ClassTable) -> dict[str, Any]:
    """model.json, whose content is returned, model.txt and architecture.png: known before the first step."""
    data, model = config.data, config.model
    content = {
        "model": to_json(model),
        "height": data.height,
        "width": data.width,
        "channels": data.channels,
        "scale": SCALE,
        "resize": data.resize,
        **({} if data.crop is None else {"crop": data.crop}),
        "mode": data.mode,
        "classes": table.names,
        "threshold": 0.5,
    }
    write_json(folder.model, content)
    layers = layer_table(model, data.height, data.width, data.channels)
    write_whole(folder.path / "model.txt", lambda file: file.write_text(layers))
    save_architecture(
        folder.path / "architecture.png",
        widths=model.widths,
        in_channels=data.channels,
        out_channels=table.out_channels,
        height=data.height,
        width=data.width,
        norm=model.norm,
        activation=ACTIVATION_NAMES[model.activation],
        parameters=count_parameters(model, data.channels),
    )
    return content


def show(log: RunLog, step: int, shown: Sequence[Shown]) -> None:
    """Panels to the logs."""
    log.pictures(step, {f"validation/{place}": panel(*item) for place, item in enumerate(shown)})


def draw_curves(folder: RunFolder) -> None:
    """The losses so far."""
    history = [record for record in read_lines(folder.metrics) if "val_loss" in record]
    if history:  # not where metrics.jsonl is out of reach
        save_loss_curves(folder.path / "loss_curves.png", history)


def conclude(
    folder: RunFolder,
    description: dict[str, Any],
    *,
    best: TrainState,
    last: TrainState,
    shown: Sequence[Shown],
    threshold: float,
    epoch: int,
) -> None:
    """The curves, the predictions of the best weights, both weights as PyTorch state dicts; at last, the threshold.

    model.json says after how many epochs that was: `concluded` reads it.
    """
    draw_curves(folder)
    names, (images, truths, predictions) = description["classes"][1:], zip(*shown, strict=True)
    save_predictions(folder.path / "predictions.png", images, truths, predictions, class_names=names)
    for path, state in ((folder.best_weights, best), (folder.final_weights, last)):
        write_pth(path, to_state_dict(**state.weights, batches=int(np.asarray(state.step))))
    write_json(folder.model, {**description, "threshold": threshold, "epochs": epoch})


def concluded(folder: RunFolder, epoch: int) -> bool:
    """True if all that `conclude` writes is there, for the training up to this epoch."""
    return folder.model.is_file() and json.loads(folder.model.read_text()).get("epochs") == epoch
