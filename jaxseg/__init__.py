"""Image segmentation in JAX: COCO masks, a U-Net, training, and weights for PyTorch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxseg import compare, convert, doctor, evaluate, export, find_lr, predict, replay, train, visualize
    from jaxseg.arrays import VOID, Batch
    from jaxseg.augment import Augment
    from jaxseg.cadence import Checkpointing
    from jaxseg.config import Config, load_config
    from jaxseg.data.loader import eval_batches, train_batches
    from jaxseg.data.samples import Data, Samples, open_split
    from jaxseg.errors import InputError
    from jaxseg.foreign import Foreign
    from jaxseg.guard import Guard
    from jaxseg.loading import load
    from jaxseg.logs import Logs
    from jaxseg.losses import CrossEntropy, Dice, Focal, Lovasz, Sum, Tversky
    from jaxseg.models.unet import UNet
    from jaxseg.optim import SGD, Adam, AdamW, Lamb
    from jaxseg.predicting.bulk import predict_files
    from jaxseg.predicting.prediction import Prediction
    from jaxseg.predicting.tiles import Tile
    from jaxseg.predicting.tta import Tta
    from jaxseg.predictor import Predictor
    from jaxseg.pth import read_pth, write_pth
    from jaxseg.schedules import Constant, Cosine, OneCycle, Polynomial
    from jaxseg.scores.evaluation import Evaluation
    from jaxseg.suggesting.suggestion import Suggestion, suggest
    from jaxseg.tensors_file import read_safetensors, write_safetensors
    from jaxseg.weights import Weights, read_weights, write_weights

__version__ = "0.1.0"

_HOME = {
    "Adam": "jaxseg.optim",
    "AdamW": "jaxseg.optim",
    "Augment": "jaxseg.augment",
    "Batch": "jaxseg.arrays",
    "Checkpointing": "jaxseg.cadence",
    "compare": None,
    "Config": "jaxseg.config",
    "Constant": "jaxseg.schedules",
    "convert": None,
    "Cosine": "jaxseg.schedules",
    "CrossEntropy": "jaxseg.losses",
    "Data": "jaxseg.data.samples",
    "Dice": "jaxseg.losses",
    "doctor": None,
    "eval_batches": "jaxseg.data.loader",
    "evaluate": None,
    "Evaluation": "jaxseg.scores.evaluation",
    "export": None,
    "find_lr": None,
    "Focal": "jaxseg.losses",
    "Foreign": "jaxseg.foreign",
    "Guard": "jaxseg.guard",
    "InputError": "jaxseg.errors",
    "Lamb": "jaxseg.optim",
    "load": "jaxseg.loading",
    "load_config": "jaxseg.config",
    "Logs": "jaxseg.logs",
    "Lovasz": "jaxseg.losses",
    "OneCycle": "jaxseg.schedules",
    "open_split": "jaxseg.data.samples",
    "Polynomial": "jaxseg.schedules",
    "predict": None,
    "predict_files": "jaxseg.predicting.bulk",
    "Prediction": "jaxseg.predicting.prediction",
    "Predictor": "jaxseg.predictor",
    "read_pth": "jaxseg.pth",
    "read_safetensors": "jaxseg.tensors_file",
    "read_weights": "jaxseg.weights",
    "replay": None,
    "Samples": "jaxseg.data.samples",
    "SGD": "jaxseg.optim",
    "suggest": "jaxseg.suggesting.suggestion",
    "Suggestion": "jaxseg.suggesting.suggestion",
    "Sum": "jaxseg.losses",
    "Tile": "jaxseg.predicting.tiles",
    "train": None,
    "train_batches": "jaxseg.data.loader",
    "Tta": "jaxseg.predicting.tta",
    "Tversky": "jaxseg.losses",
    "UNet": "jaxseg.models.unet",
    "visualize": None,
    "VOID": "jaxseg.arrays",
    "Weights": "jaxseg.weights",
    "write_pth": "jaxseg.pth",
    "write_safetensors": "jaxseg.tensors_file",
    "write_weights": "jaxseg.weights",
}
"""Where each public name lives (None: it is a module), so that JAX is imported when first needed."""

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'jaxseg' has no attribute {name!r}")
    home = _HOME[name]
    value = import_module(f"jaxseg.{name}") if home is None else getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
