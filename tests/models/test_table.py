"""The table of layers adds up: to the network's parameters, and to the multiplications that PyTorch's layers do."""

import math

import pytest
from torch_unet import TorchUNet, needs_torch, torch

from jaxseg.models.table import HEADER, count_parameters, layer_table
from jaxseg.models.unet import UNet


def rows(table: str) -> dict[str, list[str]]:
    """Layer to its cells."""
    lines = [line for line in table.splitlines()[1:] if set(line) != {"-"}]
    split = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    return {cells[0]: cells[1:] for cells in split}


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


def test_the_originals_network_at_its_size():
    table = rows(layer_table(UNet(out_channels=1), 224, 224, 3))
    assert table["enc1/0"] == ["224 x 224 x 3", "224 x 224 x 64", "1,792", "173.4"]
    assert table["bottleneck/0"][:2] == ["14 x 14 x 512", "14 x 14 x 1024"]
    assert table["upconv4"][:2] == ["14 x 14 x 1024", "28 x 28 x 512"]
    assert table["dec1/0"][:2] == ["224 x 224 x 128", "224 x 224 x 64"]
    assert number(table["total"][0]) == 31_031_745
    assert number(table["total"][1]) == pytest.approx(73_700, rel=0.005)


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_the_rows_add_up(norm):
    model = UNet((4, 8, 12), out_channels=3, norm=norm, groups=4)
    table = rows(layer_table(model, 16, 32, 1))
    total = table.pop("total")
    assert len(table) == 5 * (2 if norm == "none" else 4) + 2 + 1
    assert sum(number(cells[-2]) for cells in table.values()) == number(total[0]) == count_parameters(model, 1)
    assert sum(number(cells[-1]) for cells in table.values()) == pytest.approx(number(total[1]), abs=0.05 * len(table))


@needs_torch
def test_layers_shapes_and_flops_are_torchs():
    network = TorchUNet((8, 12, 16, 20), in_channels=4, out_channels=2)
    theirs = {}

    def note(name: str):
        def hook(layer, inputs, output) -> None:
            (_, *before), (_, *after) = inputs[0].shape, output.shape
            places = before if isinstance(layer, torch.nn.ConvTranspose2d) else after
            flops = 2 * layer.weight.numel() * math.prod(places[1:])
            shapes = [" x ".join(map(str, (*side, channels))) for channels, *side in (before, after)]
            parameters = sum(p.numel() for p in layer.parameters())
            theirs[name.replace(".", "/")] = [*shapes, f"{parameters:,}", f"{flops / 1e6:,.1f}"]

        return hook

    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.register_forward_hook(note(name))
    network(torch.zeros(1, 4, 64, 96))
    ours = rows(layer_table(UNet((8, 12, 16, 20), out_channels=2), 64, 96, 4))
    ours.pop("total")
    assert list(ours.items()) == list(theirs.items())


def test_lines_are_of_one_width_under_their_headings():
    lines = layer_table(UNet((4, 8), out_channels=1), 16, 16, 3).splitlines()
    assert lines[0].split() == list(HEADER)
    assert len({len(line) for line in lines}) == 1
