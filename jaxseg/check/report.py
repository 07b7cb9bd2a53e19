"""What the check of a data set found, whole."""

from dataclasses import dataclass, field
from typing import Any

from jaxseg.check.findings import Finding, Findings
from jaxseg.check.samples import Sample
from jaxseg.check.splits import Split
from jaxseg.check.statistics import Statistics
from jaxseg.data.settings import Data


@dataclass
class Report:
    """Findings and statistics of a data set, for a run with `data`; `quick`: no image was decoded.

    `entries` are the images and annotations of each split's file, `samples` some images of it, if they were asked for.
    """

    target: str
    data: Data
    quick: bool
    splits: list[Split] = field(default_factory=list)
    entries: dict[str, tuple[int, int]] = field(default_factory=dict)
    statistics: dict[str, Statistics] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    found: Findings = field(default_factory=Findings)

    @property
    def findings(self) -> list[Finding]:
        """The worst first."""
        return self.found.listed()

    def by_kind(self) -> list[list[Finding]]:
        """The findings, those of one kind together."""
        grouped: dict[str, list[Finding]] = {}
        for finding in self.findings:
            grouped.setdefault(finding.kind.code, []).append(finding)
        return list(grouped.values())

    @property
    def size(self) -> str:
        """At which masks are counted."""
        if self.data.crop is not None:
            return f"{self.data.crop:g} of the pictures' height and width"
        return f"{self.data.height} x {self.data.width} (height x width, {self.data.resize})"

    @property
    def sound(self) -> bool:
        """True if a run would go through, and learn what the data set says."""
        return not self.found.count("error")

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "target": self.target,
            "sound": self.sound,
            "quick": self.quick,
            "height": self.data.height,
            "width": self.data.width,
            "resize": self.data.resize,
            "crop": self.data.crop,
            "classes": None if self.data.classes is None else list(self.data.classes),
            "merge": [list(row) for row in self.data.merge],
            "findings": [finding.as_json() for finding in self.findings],
            "splits": [
                {
                    "name": split.name,
                    "json": str(split.json),
                    "images": None if split.images is None else str(split.images),
                    "image_entries": self.entries[split.name][0],
                    "annotation_entries": self.entries[split.name][1],
                    "statistics": self.statistics[split.name].as_json() if split.name in self.statistics else None,
                }
                for split in self.splits
            ],
        }
