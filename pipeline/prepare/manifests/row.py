"""One row of a list of videos."""

from pydantic import Field

from pipeline.samples.metadata import Box
from pipeline.settings.base import Settings


class VideoRow(Settings):
    """A video to prepare. What is known of it goes into its samples' JSON unchanged."""

    video: str = Field(min_length=1)
    """Id, unique in the list."""
    source: str
    """Absolute path or URL."""
    labels: list[str] = Field(default_factory=list)
    """What sounds."""
    split: str | None = None
    boxes: list[Box] | None = None
    """Boxes of what sounds, `[x1, y1, x2, y2]` in 0–1 of the upright image."""
    visible: list[str] | None = None
    """Everything that is seen, sounding or not."""
    group: str | None = None
    """Videos with the same image and different sounds share a group."""
