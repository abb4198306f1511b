"""When something begins to move in a video, and when something begins to sound, without any training."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from av.video.reformatter import Interpolation, VideoReformatter

from pipeline.errors import MediaError
from pipeline.prepare.recipe import Part
from pipeline.reasons import Reason
from pipeline.sound.audio import Window, read_sections
from pipeline.video.clip import convert
from pipeline.video.frames import read_moments
from pipeline.video.video_file import VideoFile

HOP_S = 0.01
"""Time (s) from one value of a sound's onsets to the next."""
_RATE_HZ = 16000
_HOP = round(HOP_S * _RATE_HZ)
_WINDOW = 512
_BANDS = 24
_FLOOR = 1e-4
"""Of a band's mean energy: below it nothing is heard."""
_SECTION_S = 1
_WIDTH, _HEIGHT, _CELL = 64, 48, 4
"""Pixels that a picture is shrunk to, and of the side of a cell in which movement is looked at."""
_MOST_FPS = 60

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Onsets:
    """Of a part of a video, whose beginning is 0.

    Attributes:
        sound: [N], every `HOP_S`: by how much it grows louder, log-energy, mean of bands of frequency.
        picture: [C, K]: by how much each cell of the picture, and the picture as a whole, changes more than it did just
            before.
        times_s: [K], when each of these pictures is displayed.
        frame_s: usual time (s) from one picture to the next.
    """

    sound: Float
    picture: Float
    times_s: Float
    frame_s: float


@dataclass(frozen=True)
class _SoundFormat:
    audio_rate_hz: int = _RATE_HZ
    audio_samples: int = _RATE_HZ * _SECTION_S
    channels: int = 1


def read_onsets(video: VideoFile, part: Part) -> Onsets:
    """The onsets of a part of a video.

    Raises:
        MediaError: `damaged` or `too_short` where none of its sound, or fewer than three of its pictures, can be read;
            `silent`.
    """
    sound = _read_sound(video, part)
    if not sound.any():
        raise MediaError(Reason.SILENT, "its sound is silent throughout")
    pictures, times_s, frame_s = _read_pictures(video, part)
    return Onsets(sound_onsets(sound), picture_onsets(pictures), times_s, frame_s)


def sound_onsets(waveform: npt.NDArray[np.int16]) -> Float:
    """[N] of a waveform [S] of 16 kHz: the log-energy of each band a hop later less that of a hop before, where that is
    positive, mean of the bands."""
    count = len(waveform) // _HOP
    padded = np.pad(waveform.astype(np.float32) / 32768, (_WINDOW // 2, _WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:count]
    energy = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW).astype(np.float32), axis=1)) ** 2
    edges = np.unique(np.geomspace(3, energy.shape[1], _BANDS + 1).astype(int))
    bands = np.add.reduceat(energy, edges[:-1], axis=1)
    level = np.log(bands + _FLOOR * bands.mean() + 1e-9)
    louder = np.zeros(count)
    louder[1:-1] = np.clip(level[2:] - level[:-2], 0, None).mean(1)
    return louder


def picture_onsets(pictures: npt.NDArray[np.uint8]) -> Float:
    """[C + 1, K − 1] of grey pictures [K, H, W]: the root of how much each cell, and the whole, differs from the one
    before, less that of the picture before, where that is positive."""
    count, height, width = pictures.shape
    moved = np.abs(np.diff(pictures.astype(np.float32), axis=0))
    cells = moved.reshape(count - 1, height // _CELL, _CELL, width // _CELL, _CELL).mean((2, 4)).reshape(count - 1, -1)
    amount = np.sqrt(np.concatenate([cells, cells.mean(1, keepdims=True)], 1).T)
    starts: Float = np.clip(np.diff(amount, axis=1, prepend=amount[:, :1]), 0, None)
    return starts


def _read_sound(video: VideoFile, part: Part) -> npt.NDArray[np.int16]:
    """int16 [S] of 16 kHz from the beginning of the part on, silence where there is none."""
    starts = [part.start_s + number * _SECTION_S for number in range(int(part.duration_s / _SECTION_S) + 1)]
    found = read_sections(video, starts, _RATE_HZ * _SECTION_S, _SoundFormat(), Fraction(_SECTION_S, 2))
    if not any(isinstance(section, Window) for section in found):
        reason = Reason.DAMAGED if Reason.DAMAGED in found else Reason.TOO_SHORT
        raise MediaError(reason, "none of its sound could be decoded, or it lies elsewhere than the picture")
    silence = np.zeros(_RATE_HZ * _SECTION_S, np.int16)
    whole = np.concatenate([section.audio[0] if isinstance(section, Window) else silence for section in found])
    return whole[: int(part.duration_s * _RATE_HZ)]


def _read_pictures(video: VideoFile, part: Part) -> tuple[npt.NDArray[np.uint8], Float, float]:
    """Grey pictures [K, H, W], small; when each but the first is displayed; how long usually."""
    frame_s = max(video.frame_s, Fraction(1, _MOST_FPS))
    begin = max(part.start_s, video.picture_start_s)
    count = max(0, int((part.end_s - begin) / frame_s))
    moments: Sequence[Fraction] = [begin + (number + Fraction(1, 2)) * frame_s for number in range(count)]
    scaler = VideoReformatter()
    pictures: list[npt.NDArray[np.uint8]] = []
    times: list[Fraction] = []
    for _, frame in read_moments(video, moments):
        if frame is None or (times and frame.time_s == times[-1]):
            continue
        plane = convert(frame.image, _WIDTH, _HEIGHT, "gray", Interpolation.BILINEAR, scaler).planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(_HEIGHT, plane.line_size)
        pictures.append(rows[:, :_WIDTH].copy())
        times.append(frame.time_s - part.start_s)
    if len(pictures) < 3:
        reason = Reason.DAMAGED if count >= 3 else Reason.TOO_SHORT
        raise MediaError(reason, f"expected three pictures or more in {float(part.duration_s):.2f} s of it")
    return np.stack(pictures), np.array([float(time) for time in times[1:]]), float(frame_s)
