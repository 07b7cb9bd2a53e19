"""A small U-Net on the embedded sample: under three minutes on two CPU cores, from nothing to pictures and a .pth.

    python experiments/quickstart.py

It is a config as any other (`python -m jaxseg.train --config experiments/quickstart.py` does the same), and a script.
Expect a validation IoU of about 0.6 in runs/quickstart/; look at predictions.png there.
"""

from pathlib import Path

import jaxseg

config = jaxseg.Config(
    data=jaxseg.Data(classes=("laptop", "tv", "cell phone"), height=96, width=128),
    model=jaxseg.UNet(widths=(16, 32, 64, 128), norm="batch"),
    optimizer=jaxseg.Adam(learning_rate=1e-3),
    epochs=12,
    batch_size=8,
    logs=jaxseg.Logs(every=25),
)

if __name__ == "__main__":
    jaxseg.train.main(["--config", __file__, "--workdir", str(Path("runs") / "quickstart")])
