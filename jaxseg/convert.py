"""`python -m jaxseg.convert SOURCE TARGET`: takes weights from jaxseg to PyTorch and back, and proves it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro

from jaxseg.assumed import Choices
from jaxseg.errors import InputError, told_plainly
from jaxseg.foreign import UNDESCRIBED, Foreign
from jaxseg.models.block import Activation
from jaxseg.proof import Proof, prove_by_reference, prove_by_torch
from jaxseg.run import write_json
from jaxseg.schemes import SCHEMES, Scheme, read_rules
from jaxseg.step import SCALE
from jaxseg.torch_side import import_torch
from jaxseg.weights import PTH, SAFETENSORS, Weights, in_scheme, read_weights, write_weights


@dataclass(frozen=True)
class ConvertArguments:
    """Convert weights. The two names tell the direction.

    To PyTorch: `runs/unet model.pth`. From PyTorch: `model.pth converted`, a folder that jaxseg reads as it reads a
    run. Either file may be a .safetensors instead. PyTorch is not needed, except for --torch-model.

    Attributes:
        source: a run's folder, one checkpoint in it, a converted folder, a .pth (.pt, ...) or .safetensors file.
        target: a .pth (.pt, ...) or .safetensors file, else a folder to make.
        checkpoint: which one of a run: best, latest, or a step.
        scheme: original, milesial, plain, buda or lists: the names, read or written; None: recognised, kept.
        names: a file of rules for other names; jaxseg/schemes.py tells how.
        up_first: the network concatenates (up, skip), or not; None: as the scheme's class does.
        align_corners: of bilinear upsampling; None: as the scheme's class does.
        epsilon: of the normalisation; None: as the scheme's class does.
        groups: of group normalisation; None: as the scheme's class does, else 8.
        activation: after each normalisation; None: as the scheme's class does.
        scale: what an image's values 0..255 are multiplied by before the network sees it.
        height: of the images it was trained on.
        width: of the images it was trained on.
        classes: names, without the background.
        verify: fail unless the conversion is proven, by --torch-model or --reference.
        torch_model: compare with this class, run in PyTorch: model.py:UNet or "model.py:UNet(3, 1)".
        reference: compare with an input and output in an .npz (x_nchw, logits_nchw).
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    target: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")]
    checkpoint: str = "best"
    scheme: str | None = None
    names: Path | None = None
    up_first: bool | None = None
    align_corners: bool | None = None
    epsilon: float | None = None
    groups: int | None = None
    activation: Activation | None = None
    scale: float = SCALE
    height: int | None = None
    width: int | None = None
    classes: tuple[str, ...] | None = None
    verify: bool = False
    torch_model: str | None = None
    reference: Path | None = None


class Conversion(NamedTuple):
    """The weights as they were written and read again, and the proofs; no proof: it is unproven."""

    weights: Weights
    proofs: tuple[Proof, ...]

    @property
    def proven(self) -> bool:
        """Whether there is a proof, and every one agrees."""
        return bool(self.proofs) and all(proof.agrees for proof in self.proofs)


def main(argv: list[str] | None = None) -> None:
    """The command."""
    with told_plainly():
        arguments = tyro.cli(ConvertArguments, prog="python -m jaxseg.convert", args=argv)
        scheme = choose_scheme(arguments.scheme, arguments.names)
        foreign = Foreign(
            scheme,
            Choices(
                arguments.up_first, arguments.align_corners, arguments.epsilon, arguments.groups, arguments.activation
            ),
            arguments.scale,
            arguments.height,
            arguments.width,
            arguments.classes,
        )
        result = convert(
            arguments.source,
            arguments.target,
            checkpoint=arguments.checkpoint,
            foreign=foreign,
            torch_model=arguments.torch_model,
            reference=arguments.reference,
        )
    if (result.proofs or arguments.verify) and not result.proven:
        raise SystemExit(1)


def choose_scheme(name: str | None, table: Path | None) -> Scheme | None:
    if name and table:
        raise InputError("--scheme and --names exclude each other.")
    if name and name not in SCHEMES:
        raise InputError(f"--scheme {name}: there are {', '.join(SCHEMES)}; others by --names FILE.")
    if table and not table.is_file():
        raise InputError(f"--names {table}: no such file.")
    return read_rules(table.read_text(), str(table)) if table else SCHEMES[name] if name else None


def convert(
    source: Path | str,
    target: Path | str,
    *,
    checkpoint: str = "best",
    foreign: Foreign = UNDESCRIBED,
    torch_model: str | None = None,
    reference: Path | str | None = None,
) -> Conversion:
    """Convert weights, read them again, compare, and say so; `conversion.json` beside the result tells the same.

    Raises:
        InputError: if `source` can't be read or is no network that jaxseg has, or `target` can't be written.
    """
    source, target = Path(source), Path(target)
    if source.resolve() == target.resolve():
        raise InputError(f"{source} would be written over itself: give another target.")
    if torch_model:
        import_torch()
    weights = read_weights(source, checkpoint=checkpoint, foreign=foreign)
    if is_file_name(target):
        weights = in_scheme(weights, foreign.scheme)
    write_weights(target, weights)
    back = read_weights(target)
    check_same(weights, back, target)
    tell(source, target, weights)
    proofs: list[Proof] = []
    if torch_model:
        state = back.state_dict if is_file_name(target) else weights.state_dict
        proofs.append(prove_by_torch(weights if is_file_name(target) else back, state, torch_model))
    if reference:
        proofs.append(prove_by_reference(back, reference))
    for proof in proofs:
        print(proof)
    if not proofs:
        print("Unproven: nothing to compare with. Give --torch-model model.py:Class or --reference ref.npz.")
    result = Conversion(back, tuple(proofs))
    write_json(
        (target.parent if is_file_name(target) else target) / "conversion.json", record(source, target, result, weights)
    )
    return result


def is_file_name(path: Path) -> bool:
    return path.suffix in (*PTH, SAFETENSORS)


def check_same(written: Weights, read: Weights, target: Path) -> None:
    """Raise an InputError if not every bit came back."""
    ours, theirs = written.state_dict, read.state_dict
    same = list(ours) == list(theirs) and all(
        ours[name].dtype == theirs[name].dtype and np.array_equal(bits(ours[name]), bits(theirs[name])) for name in ours
    )
    if not same:
        raise InputError(f"{target}: what was written did not come back the same. Is the disk full or failing?")


def bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def tell(source: Path, target: Path, weights: Weights) -> None:
    model = weights.model
    count = sum(
        value.size for path, value in weights.leaves.items() if not path.endswith(("/mean", "/var", "/batches"))
    )
    print(
        f"{source}: U-Net of widths {' '.join(map(str, model.widths))}, {weights.description['channels']} -> "
        f"{model.out_channels} channels, norm {model.norm}, upsampling {model.up}, {count:,} parameters; "
        f"names: {weights.scheme}"
    )
    for note in weights.notes:
        print(f"  {note}")
    print(f"{target}: written, read again, and the same bit for bit ({len(weights.leaves)} tensors)")


def record(source: Path, target: Path, result: Conversion, weights: Weights) -> dict[str, object]:
    """The content of conversion.json."""
    return {
        "source": str(source),
        "target": str(target),
        "scheme": weights.scheme,
        "notes": list(weights.notes),
        "proven": result.proven,
        "proofs": [
            {**proof._asdict(), "errors": [error._asdict() for error in proof.errors], "agrees": proof.agrees}
            for proof in result.proofs
        ],
    }


if __name__ == "__main__":
    main(sys.argv[1:])
