"""Photographs larger than a network can see at once: it is trained on windows cut at random, and predicts by tiles.

    python -m jaxseg.train --config experiments/large_images.py --data.root /path/to/coco

`data.crop` is the scale at which it looks: 1 sees every pixel of the photograph; 0.5 half of them in each direction,
and four times as much around. A third of the windows is made to show a class. Validation, evaluation and prediction
cover each picture with windows of the same size and scale.
"""

import dataclasses
from pathlib import Path

import jaxseg

best = jaxseg.load_config(Path(__file__).with_name("best.py"))
config = dataclasses.replace(
    best,
    data=dataclasses.replace(best.data, crop=0.5, crop_foreground=0.33, crops=4),
)
