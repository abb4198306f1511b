"""Settings of classification, and what is measured of it."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.features.settings import FeatureSettings
from pipeline.tasks.contract import Metric, TaskSettings, Totals

BACKGROUND = "background"
"""The class of a segment that has no label."""
_COUNTED = ("loss", "samples", "answers", "right", "left_out", "others", "refused")

ClassName = Annotated[str, Field(min_length=1)]


class LabelSettings(TaskSettings):
    """A head that tells labels, of whatever objective."""

    classes: tuple[ClassName, ...] = Field(min_length=1)
    """All labels, in the order of their numbers."""
    labels: Literal["one", "several"] = "one"
    """`one`: a sample has one label, and one answer is given (softmax, cross entropy). `several`: each class is told by
    itself (sigmoid, binary cross entropy)."""
    segments: int | None = Field(default=None, ge=2)
    """Tell each of so many segments of a sample (`segment_labels` of its JSON) instead of the whole; `features.frames`
    must be as many. With `labels: one`, a segment without a label is of the class `background`, the last one."""
    unknown: Literal["refuse", "leave_out"] = "refuse"
    """What becomes of a sample with a label that is none of the classes: it ends the run, or is left out as samples
    without labels are."""
    streams: tuple[str, ...] = Field(default=("class",), min_length=1)
    """Of which of the model's streams the head sees the mean over all tokens, one behind the other: `[class]` the class
    token, `[visual, audio]` both modalities."""
    hidden: int | None = Field(default=None, gt=0)
    """Width of a hidden layer of the head; linear without one."""
    class_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """How often a class counts in the loss, by its name; once unless given."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the truth that is spread over all answers."""

    @model_validator(mode="after")
    def _classes_fit(self) -> "LabelSettings":
        twice = next((name for place, name in enumerate(self.classes) if name in self.classes[:place]), None)
        if twice is not None:
            raise ValueError(f"classes that differ, found {twice!r} twice")
        if self.has_background and BACKGROUND in self.classes:
            raise ValueError(f"classes without {BACKGROUND!r}, which segments without a label are of, found it")
        if self.labels == "one" and len(self.answers) < 2:
            raise ValueError(f"at least two classes, or labels = several, found {self.classes[0]!r} alone")
        stranger = next((name for name in self.class_weights if name not in self.answers), None)
        if stranger is not None:
            raise ValueError(f"class_weights of classes, found {stranger!r}")
        return self

    @property
    def has_background(self) -> bool:
        """Whether a segment may be of none of the classes, as an answer of its own."""
        return self.segments is not None and self.labels == "one"

    @property
    def answers(self) -> tuple[str, ...]:
        """Names of the head's outputs: the classes, and the background where there is one."""
        return (*self.classes, *([BACKGROUND] if self.has_background else []))

    @property
    def told(self) -> tuple[str, ...]:
        """Those of the answers that training knows the truth of."""
        return self.answers

    @property
    def tells_several(self) -> bool:
        """Whether each class is told by itself."""
        return self.labels == "several"

    @property
    def even_loss(self) -> float | None:
        """The loss of who finds all answers equally likely; None where that is not one number."""
        return None if self.class_weights else math.log(2 if self.tells_several else len(self.told))

    @property
    def sums(self) -> tuple[str, ...]:
        """Over samples with labels: the loss, how many there are, their answers (one a segment), those whose surest
        class is right, and samples left out; of all classes that a sample is not of, how many there are and how many
        were not said; and of each class, how often it is there and how often it was said then."""
        numbers = range(len(self.told))
        return (*_COUNTED, *(f"there/{number}" for number in numbers), *(f"said/{number}" for number in numbers))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """`commonest` is what an answer reaches that is the same for all samples."""
        one, count = not self.tells_several, len(self.told)
        return (
            Metric("loss", "loss", chance=self.even_loss),
            Metric("accuracy", chance=1 / count if one else None, checked_by="balanced_accuracy"),
            Metric("balanced_accuracy", chance=1 / count if one else 0.5, shown=not one),
            Metric("commonest", shown=False),
            Metric("unlabelled_samples", "count"),
        )

    def figures(self, totals: Totals) -> dict[str, float | None]:
        """Means over samples or segments with labels: `accuracy` is the share whose surest class is (one of) theirs,
        `balanced_accuracy` the mean over classes of how often they are said where they are there, with `labels:
        several` also of how often none is said that is not there."""
        answers = totals["answers"]
        answered = bool(answers) and math.isfinite(totals["loss"])
        numbers = range(len(self.told))
        there = [totals[f"there/{number}"] for number in numbers]
        found = [totals[f"said/{number}"] / times for number, times in zip(numbers, there, strict=True) if times]
        balanced = sum(found) / len(found) if found else None
        if self.tells_several and balanced is not None:
            balanced = (balanced + totals["refused"] / totals["others"]) / 2 if totals["others"] else None
        return {
            "loss": totals["loss"] / totals["samples"] if answered else None,
            "accuracy": totals["right"] / answers if answered else None,
            "balanced_accuracy": balanced if answered else None,
            "commonest": max(there) / answers if answers else None,
            "unlabelled_samples": totals["left_out"],
        }

    def reason_against(self, model: Any) -> str | None:
        """It needs its streams."""
        missing = next((name for name in self.streams if name not in model.streams), None)
        if missing is None:
            return None
        return f"task.streams among those of model.kind = {model.kind}, {', '.join(model.streams)}, found {missing}"

    def reason_against_inputs(self, features: FeatureSettings) -> str | None:
        """Segments are told where a frame shows each."""
        if self.segments is None or features.frames == self.segments:
            return None
        return f"features.frames = task.segments, which is {self.segments}, found {features.frames}"

    @property
    def label_aided(self) -> str | None:
        """It learns nothing but labels."""
        return f"label-aided: class names are what is learnt (task.kind={self.kind})"


class ClassificationSettings(LabelSettings):
    """A head that tells the labels of a sample, or of each of its segments: a probe of what a model has learnt, with
    `train.freeze: [model.*]`, or an objective by itself."""

    kind: Literal["classification"] = "classification"
    maps_weight: float = Field(default=0.0, ge=0)
    """Of the same loss for what the model's class maps say by themselves (TriBERT, as many `model.classes` as classes):
    map n is then that of class n, and `gavt localize` shows those of what is heard. Nothing else names the maps: 0, as
    in the paper, has them find their own classes."""

    @model_validator(mode="after")
    def _maps_are_of_wholes(self) -> "ClassificationSettings":
        if self.maps_weight and self.segments is not None:
            raise ValueError(f"segments = null for maps_weight, which whole samples have, found {self.segments}")
        return self

    @property
    def even_loss(self) -> float | None:
        """With that of the maps."""
        even = super().even_loss
        return None if even is None else (1 + self.maps_weight) * even

    def reason_against(self, model: Any) -> str | None:
        """It needs its streams, and a map of each class where it is to name them."""
        return self.lacks_maps(model) or super().reason_against(model)

    def lacks_maps(self, model: Any) -> str | None:
        """What a model needs whose class maps are to be named."""
        if not self.maps_weight or model.class_maps == len(self.classes):
            return None
        found = f"{model.class_maps or 'none'} of model.kind = {model.kind}"
        return f"class maps of {len(self.classes)} task.classes for task.maps_weight (model.classes), found {found}"
