"""Layout `frame`: a sample is one frame and the audio around its true time."""

from collections import Counter

from pipeline.errors import MediaError
from pipeline.prepare.audio import Window, read_windows
from pipeline.prepare.frames import read_frames
from pipeline.prepare.layouts.sample import EncodedSample, PreparedVideo, key_of, level_dbfs
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.picture import encode_picture
from pipeline.prepare.reasons import Reason
from pipeline.prepare.recipe import part_of, wanted_times
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_file import VideoFile
from pipeline.samples.flac import encode_flac
from pipeline.samples.metadata import SampleMetadata


def make_samples(video: VideoFile, row: VideoRow, settings: PrepareSettings) -> PreparedVideo:
    """The wanted frames of a video and the audio around each.

    Raises:
        MediaError: it gave no sample at all, with the reason.
    """
    times = wanted_times(part_of(row, video.duration_s, settings), settings)
    frames = [
        (frame.time_s, encode_picture(frame, settings.frame_height, settings.jpeg_quality))
        for frame in read_frames(video, times)
    ]
    if not frames:
        raise MediaError(Reason.DAMAGED, f"none of its {len(times)} wanted frames could be decoded")
    windows = read_windows(video, [time for time, _ in frames], settings)
    left_out: Counter[str] = Counter()
    samples = []
    for index, ((time, picture), window) in enumerate(zip(frames, windows, strict=True)):
        if window is None:
            left_out[Reason.DAMAGED.value] += 1
        elif settings.silence_dbfs is not None and level_dbfs(window.audio) < settings.silence_dbfs:
            left_out[Reason.SILENT.value] += 1
        else:
            samples.append(_encode(row, settings, f"{key_of(row.video)}_{index:04d}", float(time), picture, window))
    if not samples:
        if left_out[Reason.DAMAGED.value]:
            raise MediaError(Reason.DAMAGED, "no whole window of audio could be decoded around any of its frames")
        raise MediaError(Reason.SILENT, f"the audio around all frames is below {settings.silence_dbfs:g} dB")
    return PreparedVideo(samples, dict(sorted(left_out.items())))


def _encode(
    row: VideoRow, settings: PrepareSettings, key: str, time_s: float, picture: bytes, window: Window
) -> EncodedSample:
    metadata = SampleMetadata(
        layout="frame",
        video=row.video,
        source=row.source,
        frame_times_s=[round(time_s, 6)],
        audio_start_s=round(float(window.start_s), 6),
        audio_rate_hz=settings.audio_rate_hz,
        audio_samples=window.audio.shape[1],
        labels=list(row.labels),
        split=row.split,
        boxes=None if row.boxes is None else list(row.boxes),
        segment_labels=None if row.segment_labels is None else [list(labels) for labels in row.segment_labels],
        visible=None if row.visible is None else list(row.visible),
        group=row.group,
    )
    return EncodedSample(
        key,
        {
            "json": metadata.model_dump_json().encode(),
            "jpg": picture,
            "flac": encode_flac(window.audio, settings.audio_rate_hz),
        },
    )
