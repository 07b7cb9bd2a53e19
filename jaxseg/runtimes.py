"""Runs exported files with the programs that they are meant for, as the colleague who gets one would."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np

from jaxseg.agreement import Outputs, Run, masks_of
from jaxseg.program import read_program


def run_program(path: Path) -> Run:
    """A zip of `program.write_program`, by the lines of its README."""
    program = read_program(path)

    def run(images: np.ndarray) -> Outputs:
        probabilities, logits = map(np.asarray, program.call(program.weights, images))
        return Outputs(probabilities, logits, masks_of(probabilities, program.description))

    return run


def run_onnx(path: Path) -> Run:
    """An ONNX file, on the processor.

    Raises:
        ImportError: if onnxruntime is not installed.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    description = json.loads(session.get_modelmeta().custom_metadata_map["model.json"])

    def run(images: np.ndarray) -> Outputs:
        scaled = images.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(description["scale"])
        found: Any = session.run(["probabilities", "logits"], {"image": scaled})
        probabilities, logits = (array.transpose(0, 2, 3, 1) for array in found)
        return Outputs(probabilities, logits, masks_of(probabilities, description))

    return run


def run_torch(source: Path, weights: Path) -> Run:
    """A file of `torch_source` with the weights beside it.

    Raises:
        ImportError: if PyTorch is not installed.
    """
    import torch

    module = runpy.run_path(str(source))
    network = module["load_model"](str(weights))

    def run(images: np.ndarray) -> Outputs:
        tensor = torch.from_numpy(images.copy())
        with torch.inference_mode():
            scaled = module["prepare"](tensor)
            found = (network(scaled), network.logits(scaled))
        probabilities, logits = (array.permute(0, 2, 3, 1).numpy() for array in found)
        return Outputs(probabilities, logits, module["predict"](network, tensor).numpy())

    return run
