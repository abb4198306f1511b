"""One video, or one image with a sound, to its samples."""

from collections.abc import Callable
from dataclasses import replace

from pipeline.prepare.layouts import clip, frame, segments, still
from pipeline.prepare.layouts.sample import PreparedVideo
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.poses.poses import read_poses
from pipeline.prepare.settings import PrepareSettings
from pipeline.video.video_file import VideoFile, open_video

_MAKERS: dict[str, Callable[[VideoFile, VideoRow, PrepareSettings], PreparedVideo]] = {
    "frame": frame.make_samples,
    "clip": clip.make_samples,
    "segments": segments.make_samples,
}


def prepare_video(row: VideoRow, settings: PrepareSettings, place: str | None = None) -> PreparedVideo:
    """The samples of one video, in the layout that the settings ask for.

    Args:
        place: path or URL where the bytes of `row.source` lie now; None where they lie at `row.source` itself.

    Raises:
        MediaError: it gave no sample at all, with the reason.
    """
    if row.sound is not None:
        return still.make_samples(place or row.source, row, settings)
    poses = None if row.keypoints is None else read_poses(row.keypoints, settings.keypoints)
    with open_video(place or row.source, needs_audio=settings.no_audio == "fail") as video:
        prepared = replace(_MAKERS[settings.layout](video, row, settings), silent=video.sound is None)
        return prepared if poses is None else poses.put_into(prepared, video, settings.keypoints)
