"""Residual blocks are recognised by their shortcuts; that they are PyTorch's, `test_runtimes.py` tells."""

import pytest
from networks import random_variables, state_dict

from jaxseg.config import to_json
from jaxseg.errors import InputError
from jaxseg.models.unet import UNet
from jaxseg.recognise import recognise
from jaxseg.schemes import SCHEMES
from jaxseg.weights import in_scheme, own_weights

MODEL = UNet((4, 4, 6), out_channels=1, norm="batch", residual=True)


def test_they_are_recognised_by_their_shortcuts() -> None:
    found = recognise(state_dict(random_variables(MODEL)))
    assert found.model == MODEL
    assert found.names["enc1.shortcut.weight"] == "enc1/shortcut/kernel"
    assert "enc2.shortcut.weight" not in found.names, "where the channels stay the input itself is added"


def test_names_of_a_class_without_them_are_refused() -> None:
    variables = random_variables(MODEL)
    description = {"model": to_json(MODEL), "channels": 3}
    weights = own_weights(description, variables["params"], variables["batch_stats"])
    with pytest.raises(InputError, match="no residual blocks"):
        in_scheme(weights, SCHEMES["milesial"])
    assert in_scheme(weights, SCHEMES["original"]) is weights
