"""The JSON of a sample, from what its row says and what was decoded."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from pipeline.prepare.manifests.row import VideoRow
from pipeline.samples.metadata import SampleMetadata
from pipeline.sound.audio import Window


def describe(
    layout: Literal["frame", "clip", "segments"],
    row: VideoRow,
    frame_times_s: Sequence[Fraction],
    window: Window,
    audio_rate_hz: int,
    fps: float | None = None,
    located: bool = True,
) -> bytes:
    """The JSON of a sample with frames at `frame_times_s` and the audio of `window`.

    Args:
        located: the row's boxes, if it has any, are of what is shown.
    """
    metadata = SampleMetadata(
        layout=layout,
        video=row.video,
        source=row.source,
        frame_times_s=[round(float(time), 6) for time in frame_times_s],
        fps=fps,
        audio_start_s=round(float(window.start_s), 6),
        audio_rate_hz=audio_rate_hz,
        audio_samples=window.audio.shape[1],
        labels=list(row.labels),
        split=row.split,
        boxes=list(row.boxes) if located and row.boxes is not None else None,
        segment_labels=_names(row.segment_labels),
        segment_heard=_names(row.segment_heard),
        segment_visible=_names(row.segment_visible),
        segment_boxes=None if row.segment_boxes is None else [list(boxes) for boxes in row.segment_boxes],
        visible=None if row.visible is None else list(row.visible),
        group=row.group,
    )
    return metadata.model_dump_json().encode()


def _names(segments: Sequence[Sequence[str]] | None) -> list[list[str]] | None:
    return None if segments is None else [list(names) for names in segments]
