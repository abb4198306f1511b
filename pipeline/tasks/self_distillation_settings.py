"""Settings of self-distillation, and what is measured of it."""

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.tasks.contract import Metric, TaskSettings, Totals

Share = tuple[float, float]
"""From, to."""
GLOBAL_VIEWS = 2


class SelfDistillationSettings(TaskSettings):
    """A student is to say of some views of a sample what its teacher, its own average, says of others (DINO, Caron et
    al. 2021). Defaults are the paper's but for the views and the size of the head."""

    kind: Literal["self_distillation"] = "self_distillation"
    local_views: int = Field(default=4, ge=0)
    """Views of a small part, which the student alone sees, beside two of the large part that the teacher sees too."""
    local_streams: Literal["both", "one"] = "one"
    """What the student has of a small part: frame and sound, or `one` of them, in turns: then it says of a part of the
    frame, or of a part of the sound, what the teacher says of both."""
    frame_area: Share = (0.4, 1.0)
    """Of the crops of frames, as a share of the frame; each is resized to the whole frame's size."""
    sound_length: Share = (0.6, 1.0)
    """Of the stretches of sound, as a share of the sound; each is resized in time to the whole sound's length."""
    local_share: float = Field(default=0.25, gt=0, lt=1)
    """Of the tokens of such a crop that a small part has: a block of a frame's rows and columns, a stretch of a sound's
    moments. They keep their places and their size, as learned positions are of one size."""
    flip: bool = True
    """Mirror every other crop of a frame."""
    jitter: float = Field(default=0.2, ge=0, lt=1)
    """Largest change of a crop's brightness and contrast, beside that of `features.augment`, which all views of a
    sample share."""
    prototypes: int = Field(default=1024, ge=2)
    """Outputs of the head (the paper's 65,536)."""
    hidden: int = Field(default=512, gt=0)
    """Width of the head's hidden layers (the paper's 2,048)."""
    bottleneck: int = Field(default=128, gt=0)
    """Width of what is compared with the prototypes (the paper's 256)."""
    frozen_steps: int = Field(default=0, ge=0)
    """Steps in which prototypes stay as they were drawn; the paper's first epoch."""
    student_temperature: float = Field(default=0.1, gt=0)
    """By which the student's outputs are divided before the softmax."""
    teacher_temperature: float = Field(default=0.04, gt=0)
    """By which the teacher's are, once warm; lower than the student's, so that the teacher is the surer one. A higher
    one learns slower; too low a one collapses."""
    teacher_temperature_start: float = Field(default=0.04, gt=0)
    """Of the first step, from which it rises linearly."""
    warm_up_steps: int = Field(default=0, ge=0)
    """Steps over which it does."""
    momentum: float = Field(default=0.996, ge=0, le=1)
    """What of the teacher stays in a step."""
    final_momentum: float = Field(default=1.0, ge=0, le=1)
    """What it rises to by a cosine."""
    momentum_steps: int | None = Field(default=None, gt=0)
    """Steps over which it does, such as those of the run; it stays unless given."""
    centre_momentum: float = Field(default=0.9, ge=0, lt=1)
    """What stays in a step of the centre of the teacher's outputs, which is taken away from them."""

    @model_validator(mode="after")
    def _shares_are_in_order(self) -> "SelfDistillationSettings":
        for name, (least, most) in (("frame_area", self.frame_area), ("sound_length", self.sound_length)):
            if not 0 < least <= most <= 1:
                raise ValueError(f"{name} of two shares in 0–1, the smaller first, found {least} and {most}")
        return self

    @model_validator(mode="after")
    def _views_are_dealt(self) -> "SelfDistillationSettings":
        if self.local_streams == "one" and self.local_views % 2:
            raise ValueError(f"an even number of local_views for local_streams = one, found {self.local_views}")
        return self

    def momentum_at(self, step: int) -> float:
        """In step `step`, counted from 0."""
        if self.momentum_steps is None:
            return self.momentum
        done = min(step / self.momentum_steps, 1.0)
        return self.final_momentum - (self.final_momentum - self.momentum) * (1 + math.cos(math.pi * done)) / 2

    def teacher_temperature_at(self, step: int) -> float:
        """In step `step`, counted from 0."""
        done = min(step / self.warm_up_steps, 1.0) if self.warm_up_steps else 1.0
        return self.teacher_temperature_start + (self.teacher_temperature - self.teacher_temperature_start) * done

    @property
    def sums(self) -> tuple[str, ...]:
        """Over samples: the cross entropy, the entropy of the teacher's answers, that of the mean of what it has
        answered lately, and how often student and teacher chose the same prototype of the two large views."""
        return ("loss", "samples", "entropy", "mean_entropy", "agreed")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Whoever gives the same answer to all samples has at best `constant_loss`. Where `entropy` comes near the
        logarithm of the number of prototypes (`kl_to_uniform` near 0), or `constant_loss` near 0, all has collapsed:
        the teacher says nothing, or the same of everything."""
        most = math.log(self.prototypes)
        return (
            Metric("loss", "loss", chance=most),
            Metric("constant_loss", "loss", chance=most),
            Metric("entropy", "number", chance=most),
            Metric("kl_to_uniform", "number", chance=0.0),
            Metric("agreement", chance=1 / self.prototypes),
        )

    def figures(self, totals: Totals) -> dict[str, float | None]:
        """Means over the samples."""
        samples = totals["samples"]
        if not samples:
            return {metric.name: None for metric in self.metrics}
        return {
            "loss": totals["loss"] / samples,
            "constant_loss": totals["mean_entropy"] / samples,
            "entropy": totals["entropy"] / samples,
            "kl_to_uniform": math.log(self.prototypes) - totals["entropy"] / samples,
            "agreement": totals["agreed"] / samples,
        }

    def reason_against(self, model: Any) -> str | None:
        """It needs a class token that has seen frames and sound, of which it crops what the embedders see."""
        missing = {"class", "visual", "audio"} - set(model.streams)
        if missing:
            return (
                f"a model with the streams class, visual and audio for task.kind = {self.kind}, found no {min(missing)}"
            )
        if not model.sees_images:
            return f"a model whose embedders see images for task.kind = {self.kind}, found model.kind = {model.kind}"
        return None
