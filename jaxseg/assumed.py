"""What a checkpoint does not show of its network, by choice or as its naming scheme's class does."""

from collections.abc import Iterator
from dataclasses import dataclass

from jaxseg.models.block import ACTIVATION_NAMES, Activation
from jaxseg.models.unet import UNet
from jaxseg.schemes import Scheme


@dataclass(frozen=True)
class Choices:
    """What a checkpoint does not show; None: as its naming scheme's class does.

    Attributes:
        up_first: the network concatenates (up, skip), not (skip, up).
        align_corners: of the bilinear upsampling, where the network has that.
        epsilon: of the normalisation.
        groups: of the normalisation, where that is of groups.
        activation: after it.
    """

    up_first: bool | None = None
    align_corners: bool | None = None
    epsilon: float | None = None
    groups: int | None = None
    activation: Activation | None = None


AS_ITS_CLASS = Choices()


def assumptions(model: UNet, scheme: Scheme, choices: Choices) -> Iterator[str]:
    """What is not in the file, and how it was chosen."""

    def source(value: object) -> str:
        return f"as {scheme.name}'s class does" if value is None else "as asked for"

    order = "(up, skip)" if model.up_first else "(skip, up)"
    yield f"concatenation {order}, {source(choices.up_first)} (--up-first {not model.up_first})"
    yield f"activation {ACTIVATION_NAMES[model.activation]}, {source(choices.activation)} (--activation NAME)"
    if model.norm == "group":
        known = source(choices.groups) if (choices.groups, scheme.groups) != (None, None) else "a guess"
        yield f"normalisation of {model.groups} groups of channels, {known} (--groups NUMBER)"
    if model.norm != "none":
        yield f"normalisation with epsilon {model.epsilon:g}, {source(choices.epsilon)} (--epsilon NUMBER)"
    if model.up != "transposed":
        corners = model.up == "bilinear_corners"
        chosen = source(choices.align_corners)
        yield f"bilinear upsampling with align_corners={corners}, {chosen} (--align-corners {not corners})"
