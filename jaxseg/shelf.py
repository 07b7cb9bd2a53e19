"""The folder that a run's checkpoints stand in, one folder each: whole, unfinished and damaged ones."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from jaxseg.digests import DIGESTS, faults, seal, settle
from jaxseg.errors import InputError
from jaxseg.trouble import reason, warn

NEW, REMOVED, REPLACED, DAMAGED = ".new", ".removed", ".replaced", ".damaged"
"""Endings of folders that are no checkpoints: one that is being written, one that is being removed, one that made room
for another of the same step, and one that was found damaged."""
SEALED = {"digests": DIGESTS}
"""Stands in the metadata of a checkpoint that has digests: those of older versions of jaxseg have none."""


class DamageError(InputError):
    """A checkpoint is not as it was written."""

    def __init__(self, place: Path, found: list[str]) -> None:
        """`found` names the files, and what is wrong with each."""
        self.found = found
        super().__init__(f"{place} is damaged: {several(found)}.")


@dataclass(frozen=True)
class Shelf:
    """A checkpoint stands under the number of its step, once every file in it is on disk."""

    path: Path

    def place(self, step: int) -> Path:
        """Where a checkpoint stands."""
        return self.path / str(step)

    def steps(self) -> list[int]:
        """Those of the checkpoints that were saved whole, the newest last; they may have been damaged since."""
        found = self.path.iterdir() if self.path.is_dir() else ()
        return sorted(int(path.name) for path in found if path.name.isdecimal() and path.is_dir())

    def tidy(self) -> None:
        """Remove what a killed run was still writing or removing, and undo a replacement that it did not end."""
        for pattern in ("*.orbax-checkpoint-tmp*", f"*{NEW}", f"*{REMOVED}"):
            for path in self.path.glob(pattern):
                shutil.rmtree(path)
        for path in self.path.glob(f"*{REPLACED}"):
            if path.with_suffix("").exists():
                shutil.rmtree(path)
            else:
                path.rename(path.with_suffix(""))

    def put(self, step: int) -> None:
        """Seal what was written for a step, and give it its place."""
        place, fresh = self.place(step), self.path / f"{step}{NEW}"
        seal(fresh)
        if place.exists():
            place.rename(self.path / f"{step}{REPLACED}")
        fresh.rename(place)
        settle(self.path)

    def drop_unfinished(self) -> None:
        """Remove what could not be written whole, as far as that goes; nothing may be writing."""
        for path in self.path.glob(f"*{NEW}*"):
            shutil.rmtree(path, ignore_errors=True)

    def keep(self, steps: set[int]) -> None:
        """Remove the other checkpoints: under another name, so that no reader meets half of one."""
        for step in set(self.steps()) - steps:
            self.place(step).rename(self.path / f"{step}{REMOVED}")
        for path in (*self.path.glob(f"*{REMOVED}"), *self.path.glob(f"*{REPLACED}")):
            shutil.rmtree(path)

    def damage(self, step: int, part: str = "") -> list[str]:
        """What is wrong with a checkpoint, or a part of it; [] if it is intact, or has no digests to tell it by.

        Raises:
            InputError: if it may not be read.
        """
        place = self.place(step)
        try:
            found = faults(place, part)
            if found == [f"{DIGESTS} is missing"]:
                metadata = json.loads((place / "_CHECKPOINT_METADATA").read_bytes())
                return found if metadata["custom_metadata"] == SEALED else []
        except FileNotFoundError:
            return [f"{DIGESTS} and _CHECKPOINT_METADATA are missing"]
        except (ValueError, KeyError, TypeError):
            return [f"{DIGESTS} is missing, and _CHECKPOINT_METADATA has changed"]
        except OSError as error:
            raise InputError(f"{place} can't be read: {reason(error)}. Give this user the right to read it.") from error
        return found

    def newest_intact(self, part: str = "") -> int:
        """The newest step of which this part is intact; a damaged one that is passed over is told.

        Raises:
            InputError: if there is none.
        """
        damaged: dict[int, list[str]] = {}
        for step in reversed(self.steps()):
            if not (found := self.damage(step, part)):
                for other, why in damaged.items():
                    warn(f"{DamageError(self.place(other), why)} The one of step {step} is taken instead.")
                return step
            damaged[step] = found
        raise self.none_intact(damaged)

    def put_aside(self, damaged: dict[int, list[str]], then: str) -> None:
        """Rename damaged checkpoints, so that their steps can be saved again, and tell what is wrong with them."""
        for step, found in damaged.items():
            place = self.place(step)
            names = (f"{step}{DAMAGED}{number}" for number in ("", *(f"-{n}" for n in range(2, 1000))))
            aside = next(self.path / name for name in names if not (self.path / name).exists())
            place.rename(aside)
            warn(f"{DamageError(place, found)} It is kept as {aside}, and not used. {then}")

    def none_intact(self, damaged: dict[int, list[str]]) -> InputError:
        """What to say where checkpoints are there, and all are damaged."""
        lines = "\n".join(f"  {step}: {several(found)}" for step, found in damaged.items())
        return InputError(
            f"{self.path} holds no intact checkpoint:\n{lines}\nNothing was changed. Put back a copy of one of these "
            "folders, if you have it; or begin again with another --workdir, and --init with the last weights you have."
        )


def several(found: list[str]) -> str:
    """The first of them, and how many more."""
    more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
    return "; ".join(found[:5]) + more
