"""What a row says of its segments fits the recipe, or the list is wrong."""

from pipeline.errors import ManifestError
from pipeline.prepare.manifests.row import SEGMENT_NAMES, VideoRow
from pipeline.prepare.settings import PrepareSettings

_TOLD = (*SEGMENT_NAMES, "segment_boxes")


def tells_of_segments(row: VideoRow) -> bool:
    """Whether a row says something of each of its segments."""
    return any(getattr(row, name) is not None for name in _TOLD)


def check_segments(row: VideoRow, settings: PrepareSettings) -> None:
    """Check that a row speaks of as many segments as samples of layout `segments` will have.

    Raises:
        ManifestError: it speaks of another number.
    """
    for name in _TOLD:
        told = getattr(row, name)
        if told is not None and len(told) != settings.segments:
            what = "boxes" if name == "segment_boxes" else "labels"
            raise ManifestError(
                f"{row.video}: {name}: expected {what} for {settings.segments} segments as prepare.segments says, "
                f"found {len(told)}"
            )
