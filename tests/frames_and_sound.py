"""The two fields that most samples are decoded into, of any size."""

from pipeline.features.frame_times import FrameTimes
from pipeline.features.settings import Geometry
from pipeline.stream.fields.frames import FramesField
from pipeline.stream.fields.sound import SoundField
from pipeline.stream.sound_track import SoundFormat


def frames_and_sound(
    frames: int,
    frame_size: int,
    frame_rate_hz: float | None,
    audio_rate_hz: int,
    audio_samples: int,
    channels: int,
    geometry: Geometry = "centre",
) -> tuple[FramesField, SoundField]:
    """Frames in squares of `frame_size` pixels beside a sound, not augmented."""
    sound = SoundFormat(audio_rate_hz, audio_samples, channels)
    times = FrameTimes(frames, frame_rate_hz, sound.length_s)
    return FramesField("frames", times, frame_size, frame_size, geometry), SoundField("sound", sound)
