"""A video that is in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import floor
from os import PathLike, fspath
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from cluster.scratch import scratch_folder
from pipeline.errors import MediaError, SettingsError
from pipeline.sound.channels import LAYOUTS

_TICKS = 1000
"""A second in Matroska."""


@dataclass(frozen=True)
class Clip:
    """Frames and sound as arrays. Both begin at the video's zero.

    Attributes:
        frames: uint8 [T, H, W, 3] RGB, upright; a single one is a still.
        sound: float32 [C, S] in −1..1, of one or two channels; [S] is one.
        rate_hz: of the sound.
        times_s: [T] when each frame begins to be on screen, s, rising from 0 on; the last one stays until the sound is
            over. By default `fps` to the second.
        fps: frames a second, where no `times_s` are given.
    """

    frames: npt.NDArray[np.uint8]
    sound: npt.NDArray[np.floating]
    rate_hz: int
    times_s: npt.ArrayLike | None = None
    fps: float = 25.0

    def __post_init__(self) -> None:
        frames, sound = np.asarray(self.frames), np.asarray(self.sound)
        sound = sound[None] if sound.ndim == 1 else sound
        for name, what in (("fps", "frames"), ("rate_hz", "samples")):
            if not 0 < getattr(self, name) < float("inf"):
                found = getattr(self, name)
                raise SettingsError(f"Clip.{name}: expected {what} a second, above 0, found {found:g}")
        if self.rate_hz != int(self.rate_hz):
            raise SettingsError(f"Clip.rate_hz: expected whole samples a second, found {self.rate_hz:g}")
        times = np.arange(len(frames)) / self.fps if self.times_s is None else np.asarray(self.times_s, np.float64)
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
            raise SettingsError(f"Clip.frames: expected uint8 [T, H, W, 3], found {_kind(frames)}")
        if sound.ndim != 2 or len(sound) not in LAYOUTS or sound.dtype.kind != "f" or not sound.size:
            raise SettingsError(f"Clip.sound: expected floats [C, S] of one or two channels, found {_kind(sound)}")
        if not np.isfinite(sound).all():
            raise SettingsError("Clip.sound: expected numbers in −1..1, found NaN or infinite ones")
        ticks = _ticks(times) if times.shape == (len(frames),) and np.isfinite(times).all() else [-1]
        if ticks[0] < 0 or any(after <= one for one, after in pairwise(ticks)):
            raise SettingsError(f"Clip.times_s: expected {len(frames)} times in s that rise from 0 on, 1 ms apart")
        made = {"frames": frames, "sound": sound.astype(np.float32), "times_s": times, "rate_hz": int(self.rate_hz)}
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def write(self, file: Path) -> None:
        """As Matroska, without any loss (FFV1 and PCM)."""
        ticks = _ticks(np.asarray(self.times_s))
        frames = list(zip(ticks, self.frames, strict=True))
        usual = int(np.median(np.diff(ticks))) if len(ticks) > 1 else max(round(_TICKS / self.fps), 1)
        last = self.sound.shape[1] * _TICKS // self.rate_hz - usual
        frames += [(last, self.frames[-1])] if last > ticks[-1] else []
        with av.open(str(file), "w", format="matroska") as out:
            picture = out.add_stream("ffv1", rate=Fraction(_TICKS, usual), options={"g": "1"})
            picture.height, picture.width = self.frames.shape[1:3]
            picture.pix_fmt = "bgr0"
            picture.codec_context.time_base = Fraction(1, _TICKS)
            sound = out.add_stream("pcm_f32le", rate=self.rate_hz, layout=LAYOUTS[len(self.sound)])
            for tick, pixels in frames:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format="bgr0")
                frame.pts, frame.time_base = tick, Fraction(1, _TICKS)
                out.mux(picture.encode(frame))
            out.mux(picture.encode(None))
            interleaved = np.ascontiguousarray(self.sound.T).reshape(1, -1)
            samples = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=LAYOUTS[len(self.sound)])
            samples.sample_rate, samples.pts, samples.time_base = self.rate_hz, 0, Fraction(1, self.rate_hz)
            out.mux([*sound.encode(samples), *sound.encode(None)])


Video = str | PathLike[str] | Clip
"""A path, a URL, or arrays."""


@contextmanager
def as_file(video: Video) -> Iterator[str]:
    """The path or URL of a video as long as the block; arrays are written to scratch for that time."""
    if not isinstance(video, Clip):
        yield fspath(video)
        return
    with scratch_folder("gavt-clip-") as folder:
        file = folder / "clip.mkv"
        video.write(file)
        try:
            yield str(file)
        except MediaError as error:
            raise MediaError(error.reason, str(error).replace(str(file), "the clip")) from error


def _ticks(times_s: npt.NDArray[np.float64]) -> list[int]:
    """Whole ticks that are not after these times, so that each frame is on screen when it should be."""
    return [floor(time * _TICKS + 1e-6) for time in times_s]


def _kind(array: npt.NDArray[np.generic]) -> str:
    return f"{array.dtype} {list(array.shape)}"
