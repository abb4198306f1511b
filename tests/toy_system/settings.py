"""Settings of the system; without torch."""

from typing import Literal

from pydantic import Field

from pipeline.features.settings import FeatureSettings
from pipeline.models.settings import ModelSettings
from pipeline.tasks.contract import Metric, TaskSettings, Totals


class ThreeStreamsSettings(ModelSettings):
    """Frames in patches, sound in windows of its waveform, and keypoints."""

    kind: Literal["three_streams"] = "three_streams"
    patch: int = Field(default=8, ge=1)
    """Height and width of a patch, in pixels."""
    window: int = Field(default=273, ge=1)
    """Samples of sound in a token."""
    visual_width: int = 16
    audio_width: int = 12
    keypoints_width: int = 8
    layers: int = 2
    heads: int = 2
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @property
    def fields(self) -> tuple[str, ...]:
        return ("frames", "sound", "corners")

    @property
    def streams(self) -> tuple[str, ...]:
        return ("visual", "audio", "keypoints")

    def reason_against(self, features: FeatureSettings) -> str | None:
        if features.frame_size % self.patch:
            return f"features.frame_size in multiples of model.patch = {self.patch}, found {features.frame_size}"
        return None


class BelongSettings(TaskSettings):
    """Whether a sound belongs to a frame and its keypoints, and what a slower copy of the model makes of these."""

    kind: Literal["belong"] = "belong"
    group: int = Field(default=4, ge=2)
    pace: float = Field(default=0.1, ge=0, le=1)
    """By how much the teacher follows in a step."""

    @property
    def sums(self) -> tuple[str, ...]:
        return ("loss", "samples", "told", "distance")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (Metric("loss", "loss"), Metric("told", chance=0.5), Metric("distance", "number"))

    def figures(self, totals: Totals) -> dict[str, float | None]:
        samples = totals["samples"]
        return {name: totals[name] / samples if samples else None for name in ("loss", "told", "distance")}
