"""Settings of masked modelling, and what is measured of it."""

import math
from typing import Any, Literal

from pydantic import Field

from pipeline.models.settings import EncoderSettings
from pipeline.tasks.contract import Metric, TaskSettings, Totals


class DecoderSettings(EncoderSettings):
    """A transformer that is lighter than the model's own encoder."""

    width: int = Field(default=128, gt=0)
    feed_forward: int = Field(default=256, gt=0)
    layers: int = Field(default=1, gt=0)
    heads: int = Field(default=4, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    norm_first: bool = True


class MaskedModellingSettings(TaskSettings):
    """Most of what is seen and heard is hidden, and rebuilt from the rest (MAE, He et al. 2022; of both modalities at
    once CAV-MAE, Gong et al. 2023)."""

    kind: Literal["masked_modelling"] = "masked_modelling"
    visual_masked: float = Field(default=0.75, gt=0, lt=1)
    """Share of the visual tokens that is hidden, the same number in each sample."""
    audio_masked: float = Field(default=0.75, gt=0, lt=1)
    """Share of the audio tokens that is hidden."""
    visual_strategy: Literal["random", "tube"] = "random"
    """`tube` hides the same places of all frames (VideoMAE), of which the next frame would tell otherwise."""
    audio_strategy: Literal["random", "time", "frequency", "time_frequency"] = "random"
    """`time` hides whole moments, `frequency` whole bands, `time_frequency` both: visible is what lies in moments and
    bands that are left."""
    normalised: bool = True
    """What is rebuilt is each cell less its own mean and over its own deviation: its pattern rather than its level. The
    error of the mean is then 1 where a cell has any pattern."""
    visual_weight: float = Field(default=1.0, ge=0)
    """Of the error of frames in the loss."""
    audio_weight: float = Field(default=1.0, ge=0)
    """Of the error of spectrograms in the loss."""
    decoder: DecoderSettings = DecoderSettings()
    contrast: float = Field(default=0.0, ge=0)
    """Weight of a contrastive loss on the same tokens (CAV-MAE): the visible ones of each modality go through the
    encoder once more, alone, and their means are to be more alike within a sample than between those of its group. 0:
    none. A contrastive objective beside this one, as one of several, has a pass of its own over all tokens instead."""
    temperature: float = Field(default=0.05, gt=0)
    """By which the likeness of two means is divided there."""

    @property
    def sums(self) -> tuple[str, ...]:
        """The loss over samples, the mean squared error of each modality's hidden cells and that of predicting their
        mean, and of the contrast its loss and how many samples found their own."""
        own = ("loss", "samples", "visual", "audio", "visual_mean", "audio_mean")
        return (*own, "contrast", "found") if self.contrast else own

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """`visual_rebuilt` and `audio_rebuilt` are 1 less the error over that of predicting the mean."""
        own = (
            Metric("loss", "loss"),
            Metric("visual_loss", "loss"),
            Metric("audio_loss", "loss"),
            Metric("visual_mean_loss", "loss", shown=False),
            Metric("audio_mean_loss", "loss", shown=False),
            Metric("visual_rebuilt", "number", chance=0.0),
            Metric("audio_rebuilt", "number", chance=0.0),
        )
        guessing = Metric("contrast_loss", "loss", chance=math.log(self.group)), Metric("found", chance=1 / self.group)
        return (*own, *guessing) if self.contrast else own

    def figures(self, totals: Totals) -> dict[str, float | None]:
        """Means over the samples."""
        samples = totals["samples"]
        if not samples:
            return {metric.name: None for metric in self.metrics}
        figures: dict[str, float | None] = {"loss": totals["loss"] / samples}
        for name in ("visual", "audio"):
            error, mean = totals[name] / samples, totals[f"{name}_mean"] / samples
            figures |= {f"{name}_loss": error, f"{name}_mean_loss": mean}
            figures[f"{name}_rebuilt"] = 1 - error / mean if mean else None
        if self.contrast:
            figures |= {"contrast_loss": totals["contrast"] / samples, "found": totals["found"] / samples}
        return figures

    def reason_against(self, model: Any) -> str | None:
        """It hides parts of what the embedders see, and contrasts within groups."""
        if not model.sees_images:
            return (
                f"a model whose embedders see frames and spectrograms for task.kind = {self.kind}, found "
                f"model.kind = {model.kind}"
            )
        if self.contrast and self.group < 2:
            return f"a task.group of 2 or more for task.contrast, found {self.group}"
        return None
