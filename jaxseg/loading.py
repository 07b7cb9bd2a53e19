"""Opens a trained model, whatever form it has."""

import functools
from pathlib import Path

from jaxtyping import Array

from jaxseg.checkpoint import Which
from jaxseg.config import from_json
from jaxseg.foreign import UNDESCRIBED, Foreign
from jaxseg.predictor import Predictor, network_probabilities
from jaxseg.program import read_program
from jaxseg.weights import read_weights

PROGRAM = ".zip"


def load(path: Path | str, checkpoint: Which | str = "best", *, foreign: Foreign = UNDESCRIBED) -> Predictor:
    """A trained model, ready to predict.

    Args:
        path: a run's folder, one checkpoint in it, a converted folder, a `.pth` (`.pt`, ...) or `.safetensors` file, or
            the `.zip` of a StableHLO program that `jaxseg.export` wrote.
        checkpoint: which of a run: `best`, `latest`, or a step's number.
        foreign: what to know of a file that jaxseg did not write. What is assumed of it, the model's `notes` say.

    Raises:
        InputError: if it is none of these, or the weights disagree with what model.json says.
    """
    path = Path(path)
    if path.suffix == PROGRAM and not path.is_dir():
        return load_program(path)
    weights = read_weights(path, checkpoint=checkpoint, foreign=foreign)
    forward = functools.partial(network_probabilities, model=weights.model, scale=weights.description["scale"])
    return Predictor(weights.description, forward, weights.variables, weights.model.stride, weights.notes)


def load_program(path: Path) -> Predictor:
    """The program itself runs: nothing of its network is rebuilt."""
    program = read_program(path)

    def forward(variables: dict[str, Array], images: Array) -> Array:
        return program.call(variables, images)[0]

    stride = from_json(program.description["model"]).stride
    return Predictor(program.description, forward, program.weights, stride)
