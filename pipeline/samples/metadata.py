"""The JSON of a sample.

In a shard a sample is a run of files with the same key:

    {key}.json              this, always
    {key}.jpg               layout `frame`: one frame, sRGB JPEG
    {key}.mp4               layout `clip`: H.264 at a constant frame rate, closed GOPs of at most 1 s
    {key}.00.jpg, .01.jpg…  layout `segments`: the middle frame of each segment
    {key}.flac              the audio around or beside it, int16
    {key}.keypoints.npy     keypoints of the persons in its frames (`pipeline.shards.keypoints_file`)
    {key}.NAME.npy          stored features, beside the media or instead of them
"""

from typing import Literal

from pydantic import Field

from pipeline.settings.base import Settings

Box = tuple[float, float, float, float]


class SampleMetadata(Settings):
    """What is known of a sample. Times are seconds from the video's zero: the first presentation time of the file's
    timeline, after edit lists."""

    version: Literal[1] = 1
    """Of this form."""
    layout: Literal["frame", "clip", "segments"] = "frame"
    """What files lie beside it."""
    video: str
    """Id of the video."""
    source: str
    """Path or URL that the video was read from."""
    frame_times_s: list[float]
    """True presentation time of each frame. In its own file, frame n of a clip lies at `n / fps`, and the audio begins
    with frame 0."""
    fps: float | None = None
    """Frame rate of a clip; null for single frames."""
    audio_start_s: float
    """Time of the first audio sample."""
    audio_rate_hz: int
    """Rate of the stored sound."""
    audio_samples: int
    """Audio samples a channel."""
    labels: list[str] = Field(default_factory=list)
    """What sounds, as the dataset list says."""
    split: str | None = None
    """Split of the list that the video stood in; null where it has none."""
    boxes: list[Box] | None = None
    """Boxes of what sounds, `[x1, y1, x2, y2]` in 0–1 of the upright image; of a clip around all places where it is.
    None of them where nothing that sounds is seen; null where nobody knows."""
    keypoints: int | None = Field(default=None, ge=1)
    """Of how many persons a frame its file of keypoints has places; null where nobody looked for any."""
    segment_labels: list[list[str]] | None = None
    """The events of each segment: what sounds in it and, as in AVE, is seen."""
    segment_heard: list[list[str]] | None = None
    """Everything that is heard in each segment, seen or not."""
    segment_visible: list[list[str]] | None = None
    """Everything that is seen in each segment, sounding or not."""
    segment_boxes: list[list[Box]] | None = None
    """Of each segment, boxes of what is seen and heard in it."""
    visible: list[str] | None = None
    """Everything that is seen, sounding or not; null where nobody knows. The ceiling of alignment needs it."""
    group: str | None = None
    """Samples with the same image and different sounds share a group (interactive localisation, IIoU)."""
