"""The kinds of video that decoding is judged on, and the judgement: codec × GOP × B-frames × container."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from barcode_video import bursts, clicks, read_barcode, write_video
from pipeline.prepare.settings import PrepareSettings
from pipeline.reasons import Reason
from pipeline.sound.audio import read_windows
from pipeline.video.decord_library import decord
from pipeline.video.keyframes import choose_frames
from pipeline.video.video_file import open_video

FPS = 25
SECONDS = 8.0
TIMES = [Fraction(67, 200) + step * Fraction(61, 100) for step in range(12)]  # 5 ms or more from any frame's change
SNAP_S = Fraction(2, 5)
_SOUND = PrepareSettings(audio_samples=11025)
# no two distances are alike, so sound of another place can't pass for the right one
CLICKS_S = [
    float(time) for time in np.cumsum([0.31 + 0.023 * (7 * step % 17) for step in range(16)]) if time < SECONDS - 0.1
]
# AVI gives MP3 15 ms too late, whoever reads it, since it hides the encoder's delay
_AUDIO = {"webm": "libopus", "avi": "pcm_s16le"}


@dataclass(frozen=True)
class Kind:
    """A kind of video.

    Attributes:
        options: the encoder's, by name.
        usual: whether it is among the few of each codec that are tested always.
    """

    codec: str
    gop: str
    b_frames: bool
    container: str
    encoder: str
    options: dict[str, str]
    usual: bool

    def __str__(self) -> str:
        return f"{self.codec}, {self.gop} GOP, {'B-frames' if self.b_frames else 'no B-frames'}, {self.container}"

    def write(self, folder: Path) -> Path:
        """Write such a video: frames numbered from 0, clicks at `CLICKS_S`."""
        name = "".join(letter if letter.isalnum() else "-" for letter in str(self))
        audio = clicks(SECONDS, CLICKS_S)
        return write_video(
            folder / f"{name}.{self.container}",
            SECONDS,
            codec=self.encoder,
            audio_codec=_AUDIO.get(self.container, "aac"),
            options=self.options,
            audio=audio,
            frames_per_second_clock=self.container == "avi",
        )


def kinds() -> list[Kind]:
    """All of them."""
    found = []
    for codec, containers in _CONTAINERS.items():
        for gop in ("closed", "open"):
            for b_frames in (False, True):
                for container in containers:
                    how = _options(codec, gop, b_frames)
                    if how is not None:
                        usual = (gop == "open" or container != "mkv") and b_frames and container != "webm"
                        found.append(Kind(codec, gop, b_frames, container, *how, usual))
    return found


_CONTAINERS = {
    "H.264": ("mp4", "mkv", "avi"),
    "H.265": ("mp4", "mkv"),
    "VP9": ("mp4", "mkv", "webm"),
    "MPEG-4": ("mp4", "mkv", "avi"),
    "AV1": ("mp4", "mkv", "webm"),
}


def _options(codec: str, gop: str, b_frames: bool) -> tuple[str, dict[str, str]] | None:
    """Encoder and options; None where there is no such thing."""
    open_gop, between = int(gop == "open"), 3 * b_frames
    if open_gop and not b_frames and codec != "AV1":
        return None  # nothing reaches over the keyframe
    x26 = f"keyint=30:min-keyint=30:scenecut=0:open-gop={open_gop}:bframes={between}"
    if codec == "H.264":
        return "libx264", {"x264-params": x26}
    if codec == "H.265":
        return "libx265", {"x265-params": f"{x26}:log-level=none"}
    if codec == "VP9":
        lag = {"auto-alt-ref": "1", "lag-in-frames": "16"} if b_frames else {"auto-alt-ref": "0", "lag-in-frames": "0"}
        return None if open_gop else ("libvpx-vp9", lag)
    if codec == "MPEG-4":
        return "mpeg4", {"bf": str(between), **({} if open_gop else {"flags": "+cgop", "sc_threshold": "1000000000"})}
    # without temporal filtering, which blends a frame with its neighbours
    structure = f"keyint=30:irefresh-type={1 if open_gop else 2}:pred-struct={2 if b_frames else 1}:enable-tf=0"
    return "libsvtav1", {"preset": "8", "crf": "1", "svtav1-params": structure}


@dataclass
class Verdict:
    """What came out of a video.

    Attributes:
        numbers: the bar code of each frame.
        wrong: frames that are not what their time says, or not the one displayed at the wanted time.
        time_error_s: largest distance of a frame's time from the truth, once the whole timeline is moved to fit.
        sound_error_s: largest distance of a click from the frame that it belongs to.
    """

    numbers: list[int] = field(default_factory=list)
    wrong: int = 0
    time_error_s: float = 0.0
    sound_error_s: float = 0.0


def judge(path: Path, snap_s: Fraction, times_s: Sequence[Fraction] = TIMES, picture_late_s: float = 0.0) -> Verdict:
    """Take frames and sound of a video of frames numbered from 0 as `gavt prepare` does, and compare with the truth.

    Args:
        picture_late_s: how much later than its clicks each frame is displayed.
    """
    with open_video(str(path)) as video:
        chosen = list(choose_frames(video, times_s, snap_s, Fraction(1, 4)))
        frames = [item for item in chosen if not isinstance(item, Reason)]
        windows = read_windows(video, sorted(frame.time_s for frame in frames), _SOUND)
    frames.sort(key=lambda frame: frame.time_s)
    verdict = Verdict([read_barcode(frame.pixels) for frame in frames], wrong=len(chosen) - len(frames))
    shift = float(np.median([float(f.time_s) - n / FPS for f, n in zip(frames, verdict.numbers, strict=True)]))
    for frame, number, window in zip(frames, verdict.numbers, windows, strict=True):
        error = abs(float(frame.time_s) - number / FPS - shift)
        verdict.time_error_s = max(verdict.time_error_s, error)
        verdict.wrong += error > 0.5 / FPS
        assert window is not None
        for burst in bursts(window.audio[0], _SOUND.audio_rate_hz, whole=True):
            heard = float(window.start_s) + burst - float(frame.time_s) + number / FPS + picture_late_s
            verdict.sound_error_s = max(verdict.sound_error_s, min(abs(heard - click) for click in CLICKS_S))
    if not snap_s:
        displayed = {math.floor((float(time) - shift) * FPS + 0.01) for time in times_s}
        verdict.wrong += len(displayed - set(verdict.numbers))
    return verdict


def wrong_with_plain_decord(path: Path) -> int:
    """How many of the wanted frames decord gets wrong by itself: asked for by number, as its documentation shows."""
    numbers = [math.floor(float(time) * FPS) for time in TIMES]
    try:
        pictures = decord.VideoReader(str(path), num_threads=1).get_batch(numbers).asnumpy()
    except Exception:  # of any kind: it gives no frame then
        return len(numbers)
    return sum(read_barcode(picture) != number for picture, number in zip(pictures, numbers, strict=True))
