"""By how much sound and picture are apart, without a model."""

from pipeline.api.clip import Video, as_file
from pipeline.api.results import Offset
from pipeline.errors import SettingsError, of_video
from pipeline.evaluate.offset.judge import Judged, judge_video
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings


def offset(video: Video, within_s: float = 2.0) -> Offset:
    """By how much sound and picture of a video are apart, from what begins in both at the same time; the middle 90 s
    are looked at. `Model.offset` asks a model that was trained for it.

    Args:
        video: a path, a URL or a `Clip`.
        within_s: look within ± so many seconds.

    Raises:
        MediaError: no picture or no sound, or it can't be decoded.
    """
    if not 0 < within_s < float("inf"):
        raise SettingsError(f"within_s: expected seconds above 0, found {within_s}")
    with as_file(video) as source, of_video(source):
        return offset_of(judge_video(VideoRow(source, source), PrepareSettings(), within_s, source))


def offset_of(judged: Judged) -> Offset:
    """What was found."""
    apart = judged.apart
    if apart is None:
        return Offset(None, 0.0, judged.within_s)
    return Offset(apart.offset_s, apart.confidence, judged.within_s, apart.every_s)
