"""One row of a list of videos."""

from dataclasses import dataclass

from pipeline.samples.metadata import Box

SEGMENT_NAMES = ("segment_labels", "segment_heard", "segment_visible")
"""What a row says of each segment in names."""


@dataclass(frozen=True, slots=True)
class VideoRow:
    """A video to prepare. What is known of it goes into its samples' JSON unchanged.

    Attributes:
        video: id, unique in the list.
        source: absolute path or URL; `youtube:ID` and `youtube8m:ID` are ids that are looked up and downloaded.
        labels: what sounds.
        start_s, end_s: the part (s from the video's zero) that the row is about; None is the beginning and the end.
        segment_labels: the events of each segment of that part: what sounds in it and, as in AVE, is seen.
        boxes: boxes of what sounds, `[x1, y1, x2, y2]` in 0–1 of the upright image; none of them where nothing that
            sounds is seen.
        frame_s: the moment (s from the video's zero) that was annotated: the frame displayed then is the one that is
            taken, and boxes are of that frame only. None where boxes hold throughout.
        visible: everything that is seen, sounding or not.
        segment_heard, segment_visible: everything that is heard, and seen, in each segment.
        segment_boxes: of each segment, boxes of what is seen and heard in it.
        group: videos with the same image and different sounds share a group.
        sound: absolute path or URL of the sound, where `source` is an image; both are local or on object storage.
        keypoints: absolute path or URL of the keypoints that were found in the video, local or on object storage: a
            file, a folder, or a file without its `.json` (`pipeline.prepare.poses`).
    """

    video: str
    source: str
    labels: tuple[str, ...] = ()
    split: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    segment_labels: tuple[tuple[str, ...], ...] | None = None
    boxes: tuple[Box, ...] | None = None
    visible: tuple[str, ...] | None = None
    group: str | None = None
    frame_s: float | None = None
    segment_heard: tuple[tuple[str, ...], ...] | None = None
    segment_visible: tuple[tuple[str, ...], ...] | None = None
    segment_boxes: tuple[tuple[Box, ...], ...] | None = None
    sound: str | None = None
    keypoints: str | None = None
