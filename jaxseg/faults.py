"""The images that a run could not read: from which step on, and why; kept in its folder, so that it repeats itself."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from jaxseg import hosts
from jaxseg.arrays import VOID, Batch
from jaxseg.data.assembly import Loaded
from jaxseg.data.samples import KnownFault
from jaxseg.errors import InputError
from jaxseg.run import drop_unfinished_line, read_lines

Part = Literal["train", "val"]


class Faults:
    """What once could not be read is left out from then on, though its file may come back.

    `known` is by split and image id. Samples that are opened with it don't read such images.
    """

    def __init__(self, path: Path) -> None:
        """What is in the file.

        Raises:
            InputError: if an earlier version wrote it, without splits and steps.
        """
        self.path = path
        self.known: dict[Part, dict[int, KnownFault]] = {"train": {}, "val": {}}
        for line in read_lines(path):
            if not {"split", "step"} <= line.keys():
                raise InputError(
                    f"{path} is of an earlier version of jaxseg: it does not say from which split and step on an image "
                    "was left out. Give another --workdir, or remove the file: the images are then tried again."
                )
            self.keep(line["split"], line["image_id"], KnownFault(line["step"], line["error"]))

    def keep(self, split: Part, image_id: int, fault: KnownFault) -> bool:
        """False if it is known already, from that step on or from one before."""
        before = self.known[split].get(image_id)
        if before and before.step <= fault.step:
            return False
        self.known[split][image_id] = fault
        return True

    def note(self, split: Part, step: int, found: Mapping[int, str]) -> None:
        """Write what is new, down to the disk itself, before its batch is used: so a run that goes on does the same."""
        new = {id_: text for id_, text in found.items() if self.keep(split, id_, KnownFault(step, text))}
        if new:
            self.write(split, step, new)

    def write(self, split: Part, step: int, found: Mapping[int, str]) -> None:
        lines = [
            json.dumps({"split": split, "step": step, "image_id": id_, "error": text}) + "\n"
            for id_, text in found.items()
        ]
        if not hosts.several():  # or it may be another process that is writing
            drop_unfinished_line(self.path)
        with self.path.open("a") as file:
            file.write("".join(lines))
            file.flush()
            os.fsync(file.fileno())

    def settled(self, split: Part, step: int, loaded: Loaded) -> Loaded:
        """The batch as it is used at this step: its faults noted, and those known before left out again.

        Loaders are ahead: one may have read an image, mended meanwhile, before it was told.
        """
        self.note(split, step, loaded.faults)
        if not self.known[split]:
            return loaded
        known = {id_: self.known[split].get(id_) for id_ in loaded.image_ids.tolist()}
        faults = {id_: fault.error for id_, fault in known.items() if fault and fault.step <= step}
        again = np.isin(loaded.image_ids, list(faults)) & (loaded.batch.weight > 0)
        if not again.any():
            return loaded._replace(faults=faults)
        image, mask, weight = (array.copy() for array in loaded.batch)
        image[again], mask[again], weight[again] = 0, VOID, 0
        return loaded._replace(batch=Batch(image, mask, weight), faults=faults)
