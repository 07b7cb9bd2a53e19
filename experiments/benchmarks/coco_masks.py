"""A data set as one writes it for PyTorch with pycocotools and OpenCV, by the original's rules."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pycocotools.coco import COCO


class CocoMasks(torch.utils.data.Dataset):
    """All images, and the masks of all categories, at one (height, width): a COCO object in memory, and for each
    annotation `annToMask` and a resize."""

    def __init__(self, json: Path, images: Path, size: tuple[int, int]) -> None:
        self.coco, self.images, self.size = COCO(str(json)), images, size
        self.ids = self.coco.getImgIds()
        self.categories = self.coco.getCatIds()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        entry = self.coco.loadImgs(self.ids[place])[0]
        image: Any = cv2.imread(str(self.images / entry["file_name"]))
        image = cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), self.size[::-1])
        mask = np.zeros(self.size, np.uint8)
        for annotation in self.coco.loadAnns(self.coco.getAnnIds(imgIds=entry["id"], catIds=self.categories)):
            mask = np.maximum(mask, cv2.resize(self.coco.annToMask(annotation), self.size[::-1]))
        return image.transpose(2, 0, 1).astype(np.float32) / 255, mask[None].astype(np.float32)


def batches(data: CocoMasks, batch_size: int, workers: int) -> "torch.utils.data.DataLoader[list[torch.Tensor]]":
    """Shuffled, whole batches alone."""
    cv2.setNumThreads(1)
    return torch.utils.data.DataLoader(
        data,
        batch_size,
        shuffle=True,
        num_workers=workers,
        drop_last=True,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
