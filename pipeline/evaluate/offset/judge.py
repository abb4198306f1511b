"""By how much sound and picture of one video are apart."""

from dataclasses import dataclass

from pipeline.errors import MediaError
from pipeline.evaluate.offset.detector import Apart, find_offset
from pipeline.evaluate.offset.onsets import read_onsets
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.recipe import middle_of, part_of
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.video.video_file import open_video


@dataclass(frozen=True)
class Judged:
    """What was found in a video.

    Attributes:
        apart: None where nothing can be said.
        within_s: to how much (s) it is right: a frame, or the class of a model.
    """

    apart: Apart | None
    within_s: float


def judge_video(row: VideoRow, settings: PrepareSettings, range_s: float, place: str) -> Judged:
    """What the onsets of a video say.

    Args:
        place: path or URL where its bytes lie.

    Raises:
        MediaError: it can't be judged.
    """
    if row.sound is not None:
        raise MediaError(Reason.NO_VIDEO, "it is an image with a sound beside it")
    with open_video(place) as video:
        part = middle_of(part_of(row, video.duration_s, settings), settings)
        return Judged(find_offset(read_onsets(video, part), range_s), float(video.frame_s))
