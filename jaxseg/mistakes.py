"""The usual mistakes in taking a network from one framework to another."""

import math
from collections.abc import Iterator, Mapping

from jaxtyping import PyTree

from jaxseg.models.block import ACTIVATIONS
from jaxseg.models.unet import UNet
from jaxseg.torch_side import OUTPUT

EPSILONS = (1e-3, 1e-2, 1e-4, 1e-5, 1e-6, 1e-8, 1e-12)


def alternatives(
    model: UNet, variables: Mapping[str, PyTree], layer: str
) -> Iterator[tuple[str, UNet, Mapping[str, PyTree], bool]]:
    """Usual mistakes, each with the network that makes it; and whether it normalises by the batch."""
    order = "(skip, up)" if model.up_first else "(up, skip)"
    yield (
        f"it concatenates {order}: --up-first {not model.up_first}",
        model.clone(up_first=not model.up_first),
        variables,
        False,
    )
    if model.up != "transposed":
        corners = model.up == "bilinear"
        other = model.clone(up="bilinear_corners" if corners else "bilinear")
        yield f"align_corners is {corners}: --align-corners {corners}", other, variables, False
    which = "all kernels" if layer == OUTPUT else f"the kernel of {layer}"
    for what, axes, flipped in (
        ("flipped", (0, 1, 2, 3), True),
        ("transposed (height and width exchanged)", (1, 0, 2, 3), False),
        ("transposed (inputs and outputs exchanged)", (0, 1, 3, 2), False),
    ):
        changed = with_kernels(variables["params"], layer, axes, flipped)
        yield f"{which} is {what}".replace("kernels is", "kernels are"), model, {**variables, "params": changed}, False
    if model.norm == "group":
        most = math.gcd(*model.widths)
        for groups in range(1, most + 1):
            if groups != model.groups and most % groups == 0:
                other = model.clone(groups=groups)
                yield f"another number of groups, {groups} fits: --groups {groups}", other, variables, False
    for activation in ACTIVATIONS:
        if activation != model.activation:
            yield (
                f"another activation, {activation} fits: --activation {activation}",
                model.clone(activation=activation),
                variables,
                False,
            )
    if model.norm != "none":
        for epsilon in EPSILONS:
            if epsilon != model.epsilon:
                yield (
                    f"wrong epsilon, {epsilon:g} fits: --epsilon {epsilon:g}",
                    model.clone(epsilon=epsilon),
                    variables,
                    False,
                )
    if model.norm == "batch":
        yield (
            "it normalises by the batch (PyTorch's train mode, or running statistics never updated)",
            model,
            variables,
            True,
        )


def with_kernels(tree: PyTree, layer: str, axes: tuple[int, ...], flipped: bool, path: str = "") -> PyTree:
    """The parameters with the kernel of one layer, or all of them, in another layout, where that fits."""
    if isinstance(tree, dict):
        return {n: with_kernels(c, layer, axes, flipped, f"{path}/{n}" if path else n) for n, c in tree.items()}
    if not path.endswith("/kernel") or layer not in (OUTPUT, path.removesuffix("/kernel")):
        return tree
    changed = tree[::-1, ::-1] if flipped else tree.transpose(axes)
    return changed if changed.shape == tree.shape else tree
