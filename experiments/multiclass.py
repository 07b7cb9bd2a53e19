"""The assignment's classes, told apart: background, laptop, tv and cell phone by softmax.

    python -m jaxseg.train --config experiments/multiclass.py --data.root /path/to/coco

Without `--data.root` it trains on the embedded sample. Where objects overlap, the smaller one is on top, as it
mostly is in a photograph; the original let the higher class index win (`--data.overlap max_index`).
"""

import jaxseg

config = jaxseg.Config(
    data=jaxseg.Data(
        classes=("laptop", "tv", "cell phone"), mode="multiclass", overlap="smallest_on_top", height=224, width=224
    ),
    model=jaxseg.UNet(widths=(64, 128, 256, 512, 1024)),
    optimizer=jaxseg.Adam(learning_rate=1e-4),
    epochs=10,
    batch_size=2,
)
