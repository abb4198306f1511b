"""Settings of models of segments."""

from pydantic import Field

from pipeline.features.settings import FeatureSettings
from pipeline.models.settings import ModelSettings
from pipeline.models.towers_settings import TowersSettings
from pipeline.stream.fields.contract import FieldSettings

STORED_VISUAL, STORED_AUDIO = "visual", "audio"
"""Inputs of stored features: [T, rows, columns, Dv] of what is seen in each segment, [T, Da] of what is heard."""
_OF_SEGMENT = {STORED_VISUAL: "rows, columns, width", STORED_AUDIO: "width"}
"""Axes of their arrays behind T."""


class SegmentModelSettings(ModelSettings):
    """A model of the segments of a video, from features of frozen networks or with embedders of its own."""

    embedders: TowersSettings | None = None
    """Embed `frames`, one a segment, and `sound` with these, trained with all else. Without them the model takes
    features that were stored before: the inputs `visual` [T, rows, columns, Dv] (VGG-19's `pool5`: 7×7×512) and `audio`
    [T, Da] (VGGish: 128), which `features.inputs` describes."""
    segments: int = Field(default=10, ge=2)
    """T; `features.frames` must be as many."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Frames and sound, or stored features of both."""
        return (STORED_VISUAL, STORED_AUDIO) if self.embedders is None else self.embedders.fields

    def reason_against(self, features: FeatureSettings) -> str | None:
        """A frame a segment; embedders have reasons of their own, and stored features must be of segments."""
        if features.frames != self.segments:
            return f"features.frames = model.segments, which is {self.segments}, found {features.frames}"
        if self.embedders is not None:
            return self.embedders.reason_against(features)
        for name, axes in _OF_SEGMENT.items():
            given = features.inputs.get(name)
            if not isinstance(given, FieldSettings):
                continue  # there is none, as whoever gathers the inputs says
            shape = list(given.spec(name, features, augment=False).shape())
            if shape[:1] != [self.segments] or len(shape) != 1 + len(axes.split(", ")):
                return (
                    f"features.inputs.{name}.shape of [{self.segments}, {axes}], the first as model.segments, "
                    f"found {shape}"
                )
        return None
