"""Each operation at three strengths, to look at: weak, medium, strong."""

from typing import Any

STRENGTHS: dict[str, tuple[Any, Any, Any]] = {
    "flip": (1.0, 1.0, 1.0),
    "flip_vertical": (1.0, 1.0, 1.0),
    "rotate90": (True, True, True),
    "zoom": ((0.9, 1.1), (0.7, 1.4), (0.5, 2.0)),
    "rotate": (5.0, 15.0, 45.0),
    "shear": (5.0, 10.0, 25.0),
    "elastic": (1.0, 4.0, 10.0),
    "brightness": (0.15, 0.3, 0.6),
    "contrast": (0.15, 0.3, 0.6),
    "saturation": (0.2, 0.5, 0.9),
    "hue": (0.02, 0.05, 0.2),
    "grey": (1.0, 1.0, 1.0),
    "blur": (0.7, 1.5, 4.0),
    "noise": (0.02, 0.06, 0.2),
    "cutout": (0.2, 0.4, 0.8),
    "cutmix": (1.0, 1.0, 1.0),
    "copy_paste": (1.0, 1.0, 1.0),
}
"""By the setting's name. What happens or not has one strength, and is drawn three times."""

ON_OFF = tuple(name for name, values in STRENGTHS.items() if values[0] == values[2])
"""Those with one strength."""
