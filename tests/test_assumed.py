"""What a checkpoint does not show is assumed aloud, found out by the proof, and set by flags."""

from pathlib import Path

import numpy as np
import pytest
from networks import random_variables, state_dict
from torch_milesial import randomise
from torch_unet import needs_torch, torch

from jaxseg.assumed import Choices
from jaxseg.convert import convert, main
from jaxseg.errors import InputError
from jaxseg.foreign import Foreign
from jaxseg.models.unet import UNet
from jaxseg.pth import write_pth
from jaxseg.recognise import recognise
from jaxseg.schemes import SCHEMES

TESTS = Path(__file__).parent


def grouped(widths: tuple[int, ...]) -> dict[str, np.ndarray]:
    return state_dict(random_variables(UNet(widths, out_channels=1, norm="group", groups=1)))


def test_weights_without_statistics_are_taken_for_group_normalisation() -> None:
    found = recognise(grouped((8, 16)))
    assert (found.model.norm, found.model.groups, found.model.activation) == ("group", 8, "relu")
    text = "\n".join(found.assumed)
    for words in ("8 groups of channels, a guess (--groups", "ReLU, as original's class does (--activation", "epsilon"):
        assert words in text
    chosen = recognise(grouped((8, 16)), choices=Choices(groups=2, activation="gelu"))
    assert (chosen.model.groups, chosen.model.activation) == (2, "gelu")
    text = "\n".join(chosen.assumed)
    assert "2 groups of channels, as asked for" in text
    assert "GELU, as asked for" in text


@pytest.mark.parametrize("groups", [None, 0, 3])
def test_groups_that_do_not_divide_the_widths_are_asked_for(groups: int | None) -> None:
    with pytest.raises(InputError, match=rf"and {8 if groups is None else groups} groups .* 4 8: .* by --groups"):
        recognise(grouped((4, 8)), choices=Choices(groups=groups))


def test_statistics_that_are_missing_in_part_are_missed() -> None:
    state = state_dict(random_variables(UNet((8, 16), out_channels=1, norm="batch")))
    del state["enc1.1.running_mean"]
    with pytest.raises(InputError, match=r"enc1\.1\.running_mean +- +\(8,\) +missing"):
        recognise(state)


@needs_torch
def test_the_proof_finds_the_groups_then_the_activation(tmp_path: Path) -> None:
    from jaxseg.torch_side import load_class

    call = f"{TESTS}/torch_unet.py:TorchUNet((8, 8), 3, 1, 'group', 4, 'elu')"
    torch.save(randomise(load_class(call)).state_dict(), tmp_path / "a.pth")
    for choices, first, reason in (
        (Choices(), "enc1.1", "another number of groups, 4 fits: --groups 4"),
        (Choices(groups=4), "enc1.3", "another activation, elu fits: --activation elu"),
        (Choices(groups=4, activation="elu"), None, ""),
    ):
        proof = convert(
            tmp_path / "a.pth", tmp_path / "out", foreign=Foreign(choices=choices), torch_model=call
        ).proofs[0]
        assert proof.first_off == first
        assert reason in (proof.reason or "")


def test_flags_set_them_and_they_travel_along(tmp_path: Path) -> None:
    write_pth(tmp_path / "a.pth", grouped((4, 8)))
    main([*map(str, (tmp_path / "a.pth", tmp_path / "out")), "--groups", "2", "--activation", "leaky_relu"])
    back = convert(tmp_path / "out", tmp_path / "b.pth").weights.model
    assert (back.norm, back.groups, back.activation) == ("group", 2, "leaky_relu")


def test_names_of_a_class_with_another_activation_are_refused(tmp_path: Path) -> None:
    write_pth(tmp_path / "a.pth", grouped((8, 8)))
    convert(tmp_path / "a.pth", tmp_path / "out", foreign=Foreign(choices=Choices(activation="elu")))
    with pytest.raises(InputError, match="its class has the activation relu, this network elu"):
        convert(tmp_path / "out", tmp_path / "b.pth", foreign=Foreign(SCHEMES["lists"]))
