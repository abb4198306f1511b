"""Exact frames beside ffmpeg decoding the same range: CPU time.

`the recipe`: the thesis' 17 frames of the middle 90 s of YouTube-like files, with their audio; ffmpeg decodes
the 90 s once, and stores a picture every 5 s and the audio. `every frame`: all frames of 20 s as RGB arrays; ffmpeg
converts the same frames to RGB and stores nothing.
"""

import statistics
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from _ffmpeg import ONE_THREAD, cpu_s, ffmpeg
from _youtube_like import FPS, write_youtube_like
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from pipeline.video.video_file import open_video
from reading import read_frames
from result import Result

LIMIT = 1.15
ROUNDS = 3
SETTINGS = PrepareSettings(frame_choice="exact")
RANGE_S = (100, 20)  # begin and length of the range of which every frame is taken


def run() -> list[Result]:
    """Medians over two videos, taken in turns."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as name:
        folder = Path(name)
        videos = [write_youtube_like(folder / f"{seed}.mp4", seed) for seed in range(2)]
        return [
            _compare("the recipe", videos, prepare_exactly, lambda video: _recipe_by_ffmpeg(video, folder)),
            _compare("every frame", videos, read_every_frame, _all_by_ffmpeg),
        ]


def _compare(name: str, videos: list[Path], ours: Callable[[Path], None], theirs: Callable[[Path], None]) -> Result:
    taken: tuple[list[float], list[float]] = ([], [])
    for work in (ours, theirs):
        work(videos[0])  # the first time loads libraries and fills the page cache
    for _ in range(ROUNDS):
        for video in videos:
            for work, times in zip((ours, theirs), taken, strict=True):
                times.append(cpu_s(lambda work=work, video=video: work(video)))  # type: ignore[misc]
    gavt, peer = map(statistics.median, taken)
    words = f"ffmpeg decoding the same range: {peer:.2f} s (gavt {gavt:.2f} s)"
    return Result(f"exact_mode, {name}", gavt / peer, "", LIMIT, gavt / peer <= LIMIT, words)


def prepare_exactly(video: Path) -> None:
    """The recipe with exact frames."""
    prepared = prepare_video(VideoRow(video="video", source=str(video)), SETTINGS)
    if len(prepared.samples) != 17:
        raise RuntimeError(f"expected 17 samples of {video}, found {len(prepared.samples)}")


def _recipe_by_ffmpeg(video: Path, folder: Path) -> None:
    part = ("-ss", "99", "-t", "90", *ONE_THREAD, "-i", str(video))
    pictures = ("-an", "-vf", "fps=0.2,scale=-2:480", "-c:v", "mjpeg", "-q:v", "2", *ONE_THREAD)
    audio = ("-vn", "-ac", "1", "-ar", str(SETTINGS.audio_rate_hz), "-c:a", "flac", *ONE_THREAD)
    ffmpeg(*part, *pictures, str(folder / "%04d.jpg"), *audio, str(folder / "audio.flac"))


def read_every_frame(video: Path) -> None:
    """Each frame of the range as an RGB array."""
    begin, length = RANGE_S
    times = [begin + Fraction(2 * number + 1, 2 * FPS) for number in range(length * FPS)]
    with open_video(str(video)) as opened:
        found = sum(frame.pixels.shape == (720, 1280, 3) for frame in read_frames(opened, times))
    if found != len(times):
        raise RuntimeError(f"expected {len(times)} frames of {video}, found {found}")


def _all_by_ffmpeg(video: Path) -> None:
    begin, length = map(str, RANGE_S)
    ffmpeg("-ss", begin, "-t", length, *ONE_THREAD, "-i", str(video), "-an", "-pix_fmt", "rgb24", "-f", "null", "-")
