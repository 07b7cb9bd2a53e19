"""What every suggested config has in common, and the numbers by which it is fitted to its data.

Whoever tunes the recipe changes this file alone.
"""

from jaxseg.augment import Augment
from jaxseg.losses import CrossEntropy, Tversky
from jaxseg.optim import AdamW
from jaxseg.schedules import OneCycle

NORM = "batch"
OPTIMIZER = AdamW(2e-3)
SCHEDULE = OneCycle()
BATCH = 8
AUGMENT = Augment(flip=0.5, zoom=(0.7, 1.4), brightness=0.3, contrast=0.3, saturation=0.3, probability=0.5)
TERMS = (CrossEntropy(), Tversky(0.3, 0.7))

STEPS = 3000
"""Of a training, as far as `EPOCHS` allow."""
EPOCHS = (10, 300)
"""At least and at most."""
SIDES = {"cpu": 160}
"""The side of a square with as many pixels as the network sees, by platform; elsewhere `SIDE`."""
SIDE = 384
WIDTHS = {"cpu": (16, 8)}
"""Channels of the first level, the first that fits into memory, by platform; elsewhere `WIDTH`."""
WIDTH = (32, 16, 8)
LEVELS = 5
"""At most; small images get fewer."""
COARSEST = 4
"""Pixels of the shorter side at the last level, at least: below it there is nothing to convolve."""

RARE = 0.03
"""Share of the foreground below which its pixels weigh more."""
SEEN = 12.0
"""Pixels that the side of an object should have in what the network sees: a quarter of the objects may have fewer."""
CROP_FOREGROUND = 0.33  # nnU-Net's
SPARSE = 0.3
"""Share of the foreground below which windows are made to show some."""
MOST_CROPS = 8
MOST_EMPTY = 0.5
"""Of an epoch's images, those that show no class."""
LEAST_HOLDING = (5, 0.05)
"""A class is learned if so many images hold it, or this share of them."""
CACHED = 10**9  # bytes of decoded images that are kept in memory
