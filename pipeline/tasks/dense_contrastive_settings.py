"""Settings of dense contrastive learning, and what is measured of it."""

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.settings.base import Settings
from pipeline.tasks.contract import Metric, TaskSettings, Totals

_SUMS = ("loss", "samples", "sound_found", "frame_found", "matches_told", "others_told", "others")


class RegularisersSettings(Settings):
    """What DenseAV adds to its contrastive loss (Hamilton et al. 2024, the part on regularisers; forms and weights, in
    brackets, are those of its published code; sounds and images that are spliced are not among them). Each is a weight;
    0 turns one off, and all are off by default."""

    nonnegative: float = Field(default=0.0, ge=0)
    """Mean of min(s, 0)² over the similarities s of all pairs: nothing is unlike a sound, only not like it (0.01)."""
    silence: float = Field(default=0.0, ge=0)
    """Mean of |s| where the sound is digital silence, such as padding, and of 0 elsewhere (0.01)."""
    total_variation: float = Field(default=0.0, ge=0)
    """Mean square of the change of s from one audio token to the next in time, of each frame with its own sound
    (0.01)."""
    disentangle: float = Field(default=0.0, ge=0)
    """Mean of |sₖ · sₗ| over each two heads, of each frame with its own sound: where one head sees something, others
    don't (0.05)."""
    calibration: float = Field(default=0.0, ge=0)
    """max(log t₀ − log t, 0)²: the scale t of the similarities doesn't fall below what it began with (0.1)."""


class DenseContrastiveSettings(TaskSettings):
    """All visual tokens compared with all audio tokens, each as the model embeds it, before they meet (DenseAV).

    Of a frame and a sound the similarities are averaged over the sound's frequencies; of the heads the highest counts;
    over the places of the frame they are pooled; and then averaged over the sound's times.
    """

    kind: Literal["dense_contrastive"] = "dense_contrastive"
    group: int = Field(default=8, ge=2)
    """Consecutive positions among which validation, and with `negatives: group` training, looks for the right sound; it
    must divide the micro-batch."""
    form: Literal["sigmoid", "infonce"] = "sigmoid"
    """`infonce`: which sound belongs to a frame, and which frame to a sound (DenseAV). `sigmoid`: of each pair by
    itself whether it belongs together (SigLIP, Zhai et al. 2023), which bears many samples of one class better."""
    negatives: Literal["group", "batch"] = "batch"
    """What a frame is contrasted with: the sounds of its `group`, or of the whole step on all processes, which allows
    no accumulation."""
    pool: Literal["log_mean_exp", "max"] = "log_mean_exp"
    """Over the places of a frame: (1/γ) · log mean exp(γ · s), or the maximum (DenseAV)."""
    gamma: float = Field(default=10.0, gt=0, le=40)
    """γ of `log_mean_exp`: towards 0 it is the mean, and the higher the more like the maximum."""
    heads: int = Field(default=1, ge=1)
    """Parts that a token's width is cut into, each compared by itself."""
    projection: int | None = Field(default=None, gt=0)
    """Width that a linear layer for each stream projects tokens to before they are compared; without it streams of one
    width are compared as they are."""
    scale: float = Field(default=10.0, gt=0)
    """By which similarities are multiplied at first; learned."""
    threshold: float = 0.4
    """Similarity above which a pair is said to match, at first; learned. `infonce` has it for its answers only."""
    near: float | None = Field(default=None, gt=-1, lt=1)
    """Leave out pairs that are no negatives most likely: where the two sounds, or the two frames, are more alike than
    this by the model's own embedding: cosine of their mean tokens, less the mean of all that are compared. No label is
    looked at. None leaves out samples of one scene only."""
    mixtures: float = Field(default=0.0, ge=0)
    """Weight of the same loss with mixtures for sounds: each sound with another of its group, which both frames belong
    to."""
    regularisers: RegularisersSettings = RegularisersSettings()

    @model_validator(mode="after")
    def _heads_divide_projection(self) -> "DenseContrastiveSettings":
        if self.projection is not None and self.projection % self.heads:
            raise ValueError(f"heads that divide projection = {self.projection}, found {self.heads}")
        return self

    @property
    def sums(self) -> tuple[str, ...]:
        """The loss over samples; within groups how often a frame's own sound is the most similar, and a sound's own
        frame, how many own pairs are told to match, and how many of the others not to."""
        return _SUMS

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All but the loss within groups, in training too."""
        chance = math.log(self.group) if self.form == "infonce" and self.negatives == "group" else None
        return (
            Metric("loss", "loss", chance=chance),
            Metric("sound_found", chance=1 / self.group),
            Metric("frame_found", chance=1 / self.group),
            Metric("match_accuracy", chance=0.5),
        )

    def figures(self, totals: Totals) -> dict[str, float | None]:
        """Means over the samples, and the mean of the accuracies on own and on other pairs."""
        samples, others = totals["samples"], totals["others"]
        answered = bool(samples) and math.isfinite(totals["loss"])
        found: dict[str, float | None] = {
            name: totals[name] / samples if answered else None for name in ("loss", "sound_found", "frame_found")
        }
        told = (totals["matches_told"] / samples + totals["others_told"] / others) / 2 if answered and others else None
        return found | {"match_accuracy": told}

    @property
    def whole_batch(self) -> bool:
        """Where negatives are of the whole step."""
        return self.negatives == "batch"

    def reason_against(self, model: Any) -> str | None:
        """It needs frames and sound."""
        missing = {"visual", "audio"} - set(model.streams)
        if missing:
            return f"a model with the streams visual and audio for task.kind = {self.kind}, found none {min(missing)}"
        return None
