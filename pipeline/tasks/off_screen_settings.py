"""Settings of telling sounds of what is seen from silence, noise and what is off-screen, and what is measured of it."""

import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.tasks.contract import Metric, TaskSettings, Totals

Absence = Literal["silence", "noise", "other"]
"""Why nothing visible sounds: nothing sounds, nothing but noise, or something that is not in the picture."""


class OffScreenSettings(TaskSettings):
    """How sure a model is that something visible sounds. Each sample is shown with its own sound, and without it: with
    silence, with noise, with the sound of another sample."""

    kind: Literal["off_screen"] = "off_screen"
    group: int = Field(default=8, ge=2)
    """The sound of another sample comes from the same group of this many consecutive positions; it must divide the
    micro-batch."""
    absences: tuple[Absence, ...] = Field(default=("silence", "noise", "other"), min_length=1)
    """What each sample is shown with besides its own sound. `silence` is none at all for every other sample, and a hiss
    50 to 80 dB below full scale for the rest; `noise` is white, pink or brown, half to twice as loud as the own sound;
    `other` is the sound of another video of the group. No label is looked at: another's sound may happen to be of a
    kind that is visible too, and counts as absent all the same."""
    one_of: int = Field(default=1, ge=1)
    """Silence and noise are made for one of so many samples, which saves embedding most of them; it must divide
    `group`."""
    compare: Literal["places", "class"] = "places"
    """`places`: each place of the frame is compared with the sound before the two meet, and the likest counts; for any
    model. `class`: what the class token knows after both have met."""
    width: int = Field(default=64, gt=0)
    """Of `places`: numbers that the two are compared by."""
    sharpness: float = Field(default=10.0, gt=0, le=40)
    """Of `places`: γ of the log-mean-exp over places; the larger, the more the likest place alone counts."""

    @field_validator("absences")
    @classmethod
    def _each_once(cls, absences: tuple[Absence, ...]) -> tuple[Absence, ...]:
        if len(set(absences)) < len(absences):
            raise ValueError("each of silence, noise and other at most once")
        return absences

    @model_validator(mode="after")
    def _one_of_divides_group(self) -> "OffScreenSettings":
        if self.group % self.one_of:
            raise ValueError(f"one_of that divides group = {self.group}, found {self.one_of}")
        return self

    @property
    def sums(self) -> tuple[str, ...]:
        """The loss over samples, how many there are, how many own sounds were told; of each absence how many were told,
        and how many count: a sample without another video in its group has no `other`, and one of `one_of` only has
        silence and noise."""
        of_each = (f"{word}_{absence}" for absence in self.absences for word in ("told", "shown"))
        return ("loss", "samples", "told_own", *of_each)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """`accuracy` is the mean of that on own sounds and that on absences."""
        each = (Metric(f"told_{absence}", chance=0.5, shown=False) for absence in self.absences)
        return Metric("loss", "loss", chance=math.log(2)), Metric("accuracy", chance=0.5), *each

    def figures(self, totals: Totals) -> dict[str, float | None]:
        """Means over samples; none of the model's answers where the loss is no finite number."""
        samples = totals["samples"]
        answered = bool(samples) and math.isfinite(totals["loss"])
        told = {
            absence: totals[f"told_{absence}"] / totals[f"shown_{absence}"]
            for absence in self.absences
            if answered and totals[f"shown_{absence}"]
        }
        accuracy = (totals["told_own"] / samples + sum(told.values()) / len(told)) / 2 if told else None
        return {
            "loss": totals["loss"] / samples if answered else None,
            "accuracy": accuracy,
            **{f"told_{absence}": told.get(absence) for absence in self.absences},
        }

    def reason_against(self, model: Any) -> str | None:
        """It needs frames and sound, and a class token where that answers."""
        needed = {"visual", "audio"} if self.compare == "places" else {"visual", "audio", "class"}
        missing = needed - set(model.streams)
        if not missing:
            return None
        streams = " and ".join((", ".join(sorted(needed)[:-1]), sorted(needed)[-1]))
        return f"a model with the streams {streams} for task.kind = off_screen, found none {min(missing)}"
