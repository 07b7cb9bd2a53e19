"""What makes a training or an evaluation worthless, named, with advice."""

import math
from collections.abc import Sequence
from typing import Literal

Kind = Literal["nan", "all background", "all foreground", "no truth", "shared images"]


def collapses(predicted_share: float, true_share: float, *, loss: float = 0.0, unsound: int = 0) -> dict[Kind, str]:
    """What the shares of foreground, the loss and the pixels without a probability give away; empty if nothing.

    Shares are NaN where no pixel was counted.
    """
    found: dict[Kind, str] = {}
    if not math.isfinite(loss) or unsound:
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"{unsound} pixels have no probability (NaN)"
        found["nan"] = (
            f"{what}: the weights have run away. Train anew with a tenth of the learning rate, or with "
            "--model.norm batch; look at the images with python -m jaxseg.visualize."
        )
    if true_share == 0:
        found["no truth"] = (
            "the truth is never foreground: no class of data.classes is drawn in these images. Check data.classes and "
            "the annotations with python -m jaxseg.visualize; scores of it mean nothing."
        )
    elif predicted_share == 0:
        found["all background"] = (
            f"every pixel is predicted as background, though {true_share:.2%} are foreground. Train longer, or with a "
            "higher or lower learning rate, or on images with more foreground (more classes, a larger size); a lower "
            "threshold may show what it has learned."
        )
    if predicted_share == 1 and true_share < 1:
        found["all foreground"] = (
            f"every pixel is predicted as foreground, though only {true_share:.2%} are. Check data.classes and the "
            "masks with python -m jaxseg.visualize; train longer, or with a lower learning rate."
        )
    return found


def shared_images(names: Sequence[str], first: str, second: str) -> dict[Kind, str]:
    """For images that two splits share, by their files' names."""
    if not names:
        return {}
    some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return {
        "shared images": (
            f"{len(names)} images are in both the {first} and the {second} split ({some}): the scores tell nothing "
            f"about new photographs. Take them out of one, or split one file by --data.val-fraction 0.2."
        )
    }
