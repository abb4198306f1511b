"""Inputs besides the frames and the sound that the features describe themselves.

The kinds that are known lie here, below the fields that they name, because settings are read without what reads data.
"""

from typing import Annotated

from pydantic import StringConstraints

from pipeline.settings.base import Settings
from pipeline.settings.registry import Kind, KindOf, Registry

FRAMES, SOUND = "frames", "sound"
"""Names of the two inputs that need no settings of their own."""


class InputSettings(Settings):
    """Settings of an input; a kind of it derives from `pipeline.stream.fields.contract.FieldSettings`."""

    kind: str


FIELDS: Registry[InputSettings] = Registry(
    "input",
    {
        "keypoints": Kind("pipeline.stream.fields.keypoints:KeypointsSettings"),
        "segment_labels": Kind("pipeline.stream.fields.segment_labels:SegmentLabelsSettings"),
        "stored": Kind("pipeline.stream.fields.stored:StoredSettings"),
    },
    default="",  # a kind must be named
)

InputName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Input = Annotated[InputSettings, KindOf(FIELDS)]
