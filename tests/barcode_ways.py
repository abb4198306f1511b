"""All ways in which this project takes frames and sound of a video, judged by bar codes and clicks."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from barcode_kinds import CLICKS_S, FPS
from barcode_video import bursts, read_barcode
from frames_and_sound import frames_and_sound
from pipeline.errors import MediaError
from pipeline.evaluate.overlay.on_screen import shown
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.shards.foreign.sample import read_foreign
from pipeline.shards.members import Sample
from pipeline.sound.audio import Window, read_windows
from pipeline.sound.flac import decode_flac
from pipeline.stream.decode import decode_sample
from pipeline.stream.fields.frames import FramesField
from pipeline.stream.fields.sound import SoundField
from pipeline.video.clip import decode_clip
from pipeline.video.video_file import open_video

Pixels = npt.NDArray[np.uint8]
RATE_HZ = 11025
MOST_OFF_S = 0.5 / FPS
_COMMON = {
    "min_clip_s": 1,
    "audio_rate_hz": RATE_HZ,
    "audio_samples": RATE_HZ,
    "jpeg_quality": 90,
    "silence_dbfs": None,
}
SETTINGS = {
    "exact": PrepareSettings(frame_choice="exact", frame_rate_hz=1.3, **_COMMON),
    "keyframe": PrepareSettings(frame_choice="keyframe", frame_rate_hz=1.3, keyframe_within_s=0.35, **_COMMON),
    "segments": PrepareSettings(layout="segments", segments=2, segment_s=0.7, **_COMMON),
    "clip": PrepareSettings(layout="clip", clip_s=1.2, clip_fps=FPS, clip_crf=18, **_COMMON),
}


@dataclass(frozen=True)
class Shown:
    """Frames and the sound beside them, on one clock.

    Attributes:
        frames: (time in s, upright RGB [H, W, 3]) each.
        sound: int16 [S] from `sound_start_s` on.
    """

    frames: list[tuple[float, Pixels]]
    sound: npt.NDArray[np.int16]
    sound_start_s: float


@dataclass
class Outcome:
    """What a way gave.

    Attributes:
        right, wrong: frames.
        refused: samples that it says it can't give, or 1 for the whole video.
        said: the sentence of a refusal of the whole video.
    """

    right: int = 0
    wrong: int = 0
    refused: int = 0
    said: str = ""


def judge_ways(path: Path, clicks_s: Sequence[float] = CLICKS_S) -> dict[str, Outcome]:
    """Each way's outcome. A frame is right if the clicks around it are heard where its number says."""
    ways: dict[str, Callable[[Outcome], Iterator[Shown]]] = {
        **{name: lambda out, how=how: _prepared(path, how, out) for name, how in SETTINGS.items()},
        "foreign clip": lambda out: _foreign(path),
        "localize": lambda out: _localized(path),
    }
    outcomes = {}
    for name, way in ways.items():
        outcome = outcomes[name] = Outcome()
        try:
            for given in way(outcome):
                for time_s, pixels in given.frames:
                    off_s = _off(read_barcode(pixels) / FPS - time_s, given, clicks_s)
                    outcome.right += off_s <= MOST_OFF_S
                    outcome.wrong += off_s > MOST_OFF_S
        except (MediaError, ValueError) as error:
            outcome.refused += 1
            outcome.said = str(error)
    return outcomes


def _off(ahead_s: float, given: Shown, clicks_s: Sequence[float]) -> float:
    """Largest distance (s) of a heard click from where it belongs, if the picture's own time is `ahead_s` ahead."""
    heard = [given.sound_start_s + burst + ahead_s for burst in bursts(given.sound, RATE_HZ, whole=True)]
    return max((min(abs(time - click) for click in clicks_s) for time in heard), default=np.inf)


def _prepared(path: Path, settings: PrepareSettings, outcome: Outcome) -> Iterator[Shown]:
    prepared = prepare_video(VideoRow("v", str(path)), settings)
    outcome.refused += sum(prepared.left_out.values())
    for sample in prepared.samples:
        known = json.loads(sample.files["json"])
        if settings.layout == "clip":
            pictures = list(decode_clip(sample.files["mp4"]))
        else:
            images = [content for name, content in sample.files.items() if name.endswith("jpg")]
            pictures = [np.asarray(Image.open(io.BytesIO(image))) for image in images]
        frames = list(zip(known["frame_times_s"], pictures, strict=True))
        yield Shown(frames, decode_flac(sample.files["flac"])[0][0], known["audio_start_s"])


def _foreign(path: Path) -> Iterator[Shown]:
    """As a clip in somebody's tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(path, f"k{path.suffix.replace('.vob', '.mpg').replace('.3gp', '.mp4')}")
    sample = read_foreign(buffer.getvalue(), "k")
    for moment in (0.0, 0.31, 0.5, 0.77, 1.0):
        yield _decoded(sample, frames_and_sound(3, 280, 4.0, RATE_HZ, RATE_HZ, 1, geometry="squash"), moment)


def _decoded(sample: Sample, fields: tuple[FramesField, SoundField], moment: float) -> Shown:
    decoded = decode_sample(sample, fields, moment=moment)
    pictures = [frame.transpose(1, 2, 0) for frame in decoded.arrays["frames"]]
    assert decoded.audio_start_s is not None
    frames = list(zip(decoded.frame_times_s, pictures, strict=True))
    return Shown(frames, decoded.arrays["sound"][0], decoded.audio_start_s)


def _localized(path: Path) -> Iterator[Shown]:
    """The pictures that `gavt localize` shows, and the sound that it gives the model beside them."""
    settings = SETTINGS["exact"]
    with open_video(str(path)) as pictures_from, open_video(str(path)) as sound_from:
        begin, end = pictures_from.picture_start_s, pictures_from.duration_s
        wanted = [begin + Fraction(67, 200) + step * Fraction(61, 100) for step in range(12)]
        found = list(shown(pictures_from, [time for time in wanted if time < end]))
        windows = read_windows(sound_from, [time for time, _, _ in found], settings)
        for (time, picture, _), window in zip(found, windows, strict=True):
            if time - picture.time_s > Fraction(2, FPS):
                continue  # between the parts of a file whose clock starts again the last picture stays on screen
            if isinstance(window, Window):
                frames = [(float(picture.time_s), picture.pixels(160))]
                yield Shown(frames, window.audio[0], float(window.start_s))
