"""Labels of segments fit the recipe, or the list is wrong."""

from pipeline.errors import ManifestError
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings


def check_segment_labels(row: VideoRow, settings: PrepareSettings) -> None:
    """Check that a row has labels for as many segments as samples of layout `segments` will have.

    Raises:
        ManifestError: it has labels for another number.
    """
    if row.segment_labels is None or len(row.segment_labels) == settings.segments:
        return
    raise ManifestError(
        f"{row.video}: segment_labels: expected labels for {settings.segments} segments as prepare.segments says, "
        f"found {len(row.segment_labels)}"
    )
