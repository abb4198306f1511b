"""Settings of audio-visual events."""

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.tasks.classification_settings import ClassificationSettings, LabelSettings

APART = {"seen": "visual", "heard": "audio"}
"""What may be told of each segment besides events, and the stream that says it alone."""


class EventsSettings(LabelSettings):
    """A head that tells for each segment of a video which event is seen and heard in it, or that none is: learnt from
    labels of the segments, or from those of whole videos alone (AVE, Tian et al. 2018; papers 002 and 004)."""

    kind: Literal["events"] = "events"
    labels: Literal["one"] = "one"
    segments: int = Field(default=10, ge=2)
    """Segments of a sample; `features.frames` must be as many. The last answer is `background`."""
    streams: tuple[str, ...] = Field(default=("segments",), min_length=1)
    """Of which of the model's streams the head sees the mean in each segment, one behind the other."""
    supervision: Literal["segments", "video"] = "segments"
    """`segments`: cross entropy with `segment_labels`. `video`: the answers to all segments (softmax) are pooled, and
    the binary cross entropy of each class with the sample's `labels` is learnt, of which there may be several."""
    pool: Literal["mean", "max"] = "mean"
    """Over segments, for `supervision: video`: the mean (paper 002) or the maximum (paper 004)."""
    mismatched: float = Field(default=0.0, ge=0)
    """Weight of the same loss of each video with the sound of another one of its `group` that has labels and shares
    none with it, which is no event of any class (paper 004); without it little tells what background is. For
    `supervision: video`."""

    apart_weight: float = Field(default=0.0, ge=0)
    """Of two losses more: what is seen in each segment (`segment_visible` of the samples' JSON) is told from the
    stream `visual` alone, and what is heard (`segment_heard`) from `audio` alone, each class by itself. `gavt events`
    says then what is only seen or only heard, too. For `supervision: segments`."""

    @model_validator(mode="after")
    def _mismatches_can_be_made(self) -> "EventsSettings":
        if self.mismatched and self.supervision == "segments":
            raise ValueError("supervision = video for mismatched, found segments")
        if self.mismatched and self.group < 2:
            raise ValueError(f"a group of 2 or more for mismatched, found {self.group}")
        if self.apart_weight and self.supervision == "video":
            raise ValueError("supervision = segments for apart_weight, found video")
        return self

    @property
    def of_video(self) -> ClassificationSettings:
        """The labels of whole videos as they are told."""
        return ClassificationSettings(
            classes=self.classes, labels="several", unknown=self.unknown, label_smoothing=self.label_smoothing
        )

    @property
    def told(self) -> tuple[str, ...]:
        """All answers, or of whole videos the classes."""
        return self.answers if self.supervision == "segments" else self.classes

    @property
    def tells_several(self) -> bool:
        """Of whole videos."""
        return self.supervision == "video"

    @property
    def even_loss(self) -> float | None:
        """Pooled answers have none."""
        even = super().even_loss if self.supervision == "segments" else None
        return None if even is None else even + 2 * self.apart_weight * math.log(2)

    def reason_against(self, model: Any) -> str | None:
        """It needs its streams, and those that are told apart."""
        missing = next((name for name in APART.values() if self.apart_weight and name not in model.streams), None)
        if missing is not None:
            return f"a model with the streams visual and audio for task.apart_weight, found none {missing}"
        return super().reason_against(model)
