"""One video to its samples."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.errors import MediaError
from pipeline.prepare.audio import Window, read_windows
from pipeline.prepare.frames import read_frames
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.picture import encode_picture
from pipeline.prepare.reasons import Reason
from pipeline.prepare.recipe import wanted_times
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_file import open_video
from pipeline.samples.flac import encode_flac
from pipeline.samples.metadata import SampleMetadata

_LONGEST_KEY = 80  # a tar header holds names of 100 characters


@dataclass(frozen=True)
class EncodedSample:
    """A sample as it goes into a shard: file extension → content."""

    key: str
    files: dict[str, bytes]


@dataclass(frozen=True)
class PreparedVideo:
    """What a video gave.

    Attributes:
        samples: its samples, in the order of their times.
        left_out: how many wanted frames gave no sample, by reason.
    """

    samples: list[EncodedSample] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


def prepare_video(row: VideoRow, settings: PrepareSettings) -> PreparedVideo:
    """Decode the wanted frames of one video and the audio around each.

    Raises:
        MediaError: it gave no sample at all, with the reason.
    """
    with open_video(row.source) as video:
        if video.duration_s < settings.min_clip_s:
            found = f"expected {settings.min_clip_s:g} s or more, found {float(video.duration_s):.2f} s"
            raise MediaError(Reason.TOO_SHORT, found)
        times = wanted_times(video.duration_s, settings)
        frames = [
            (frame.time_s, encode_picture(frame.pixels, frame.look, settings.frame_height, settings.jpeg_quality))
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
        elif settings.silence_dbfs is not None and _level_dbfs(window.audio) < settings.silence_dbfs:
            left_out[Reason.SILENT.value] += 1
        else:
            samples.append(_encode(row, settings, f"{key_of(row.video)}_{index:04d}", float(time), picture, window))
    if not samples:
        if left_out[Reason.DAMAGED.value]:
            raise MediaError(Reason.DAMAGED, "no whole window of audio could be decoded around any of its frames")
        raise MediaError(Reason.SILENT, f"the audio around all frames is below {settings.silence_dbfs:g} dB")
    return PreparedVideo(samples, dict(sorted(left_out.items())))


def key_of(video: str) -> str:
    """The video's part of a sample key: letters, digits, `_` and `-` only, unique as the id is."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", video)[:_LONGEST_KEY]
    return plain if plain == video else f"{plain}-{hashlib.sha256(video.encode()).hexdigest()[:8]}"


def _level_dbfs(audio: npt.NDArray[np.int16]) -> float:
    power = float(np.mean(np.square(audio.astype(np.float64) / 32768)))
    return float(10 * np.log10(max(power, 1e-20)))


def _encode(
    row: VideoRow, settings: PrepareSettings, key: str, time_s: float, picture: bytes, window: Window
) -> EncodedSample:
    metadata = SampleMetadata(
        layout=settings.layout,
        video=row.video,
        source=row.source,
        frame_times_s=[round(time_s, 6)],
        audio_start_s=round(float(window.start_s), 6),
        audio_rate_hz=settings.audio_rate_hz,
        audio_samples=window.audio.shape[1],
        labels=list(row.labels),
        split=row.split,
        boxes=None if row.boxes is None else list(row.boxes),
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
