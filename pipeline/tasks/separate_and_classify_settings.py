"""Settings of mix-and-separate with classes, and what is measured of it."""

from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.tasks.classification_settings import ClassificationSettings, ClassName
from pipeline.tasks.contract import Metric, Totals
from pipeline.tasks.mix_and_separate_settings import MixAndSeparateSettings, Widths

STREAMS = ("visual", "pose", "audio")
"""Whose classes are told, of a model that has them."""


class SeparateAndClassifySettings(MixAndSeparateSettings):
    """What TriBERT is trained on (paper 001, section 3.2.1): masks that take mixtures apart, and of each stream, which
    has seen the others, the classes of the video that is sought. Samples without labels teach masks only."""

    kind: Literal["separate_and_classify"] = "separate_and_classify"  # type: ignore[assignment]  # a kind of its own
    head: Literal["streams"] = "streams"  # the others would leave most of what the classes are told of untrained
    widths: Widths = (64, 128, 256, 512, 1536)
    classes: tuple[ClassName, ...] = Field(min_length=1)
    """All labels, in the order of their numbers."""
    unknown: Literal["refuse", "leave_out"] = "refuse"
    """What becomes of a sample with a label that is none of the classes: it ends the run, or counts as one without
    labels."""
    class_weight: float = Field(default=2.0, ge=0)
    """By which each stream's loss is multiplied beside the masks': the public code takes the mean over a mixture's two
    masks, and the sum over its two videos' classes."""
    maps_weight: float = Field(default=0.0, ge=0)
    """Of a loss by which the model's class maps tell the same labels, as many `model.classes` as classes: map n is then
    that of class n. What is seen is told apart the sooner. 0, as in the paper, leaves maps without names."""
    hidden: float = Field(default=0.135, ge=0, lt=1)
    """Share of the tokens of frames and persons that are zeros in training; those that stand for all frames never are.
    Of the 15 % that the paper masks, its public code zeroes 90 %."""

    @model_validator(mode="after")
    def _classes_fit(self) -> "SeparateAndClassifySettings":
        assert self.told  # its own rules
        return self

    @property
    def told(self) -> ClassificationSettings:
        """How labels are read, and whether they name maps."""
        return ClassificationSettings(
            classes=self.classes, labels="several", unknown=self.unknown, maps_weight=self.maps_weight
        )

    @property
    def sums(self) -> tuple[str, ...]:
        """Those of the masks, with the whole loss; then of the sounds with labels the loss of their classes, and by
        stream how many there are and for how many the surest class is right."""
        by_stream = (f"{what}/{name}" for what in ("told", "right") for name in STREAMS)
        return (*super().sums, "classes", *by_stream)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Beside those of the masks the loss of the classes, and of each stream the share whose surest class is
        right."""
        whole, *masks = super().metrics
        chance = 1 / len(self.classes)
        told = (Metric(f"{name}_accuracy", chance=chance, shown=False) for name in STREAMS)
        return (whole, *masks, Metric("class_loss", "loss", shown=False), *told)

    def figures(self, totals: Totals) -> dict[str, float | None]:
        """Means over the sounds."""
        by_stream = {name: (totals[f"right/{name}"], totals[f"told/{name}"]) for name in STREAMS}
        told = totals["told/audio"]
        return {
            **super().figures(totals),
            "class_loss": totals["classes"] / told if told else None,
            **{f"{name}_accuracy": right / count if count else None for name, (right, count) in by_stream.items()},
        }

    def reason_against(self, model: Any) -> str | None:
        """It needs what its masks need, and a map of each class where it is to name them."""
        return super().reason_against(model) or self.told.lacks_maps(model)

    @property
    def label_aided(self) -> str | None:
        """Where classes count."""
        if not self.class_weight and not self.maps_weight:
            return None
        return f"label-aided: class names are learnt beside masks (task.kind={self.kind})"
