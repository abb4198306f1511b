"""The thesis' recipe on YouTube-like files, beside the least that ffmpeg takes for it and beside decoding everything.

CPU time a video. The floor is ffmpeg decoding only the keyframes of the same middle 90 s, scaled, as JPEGs, and their
audio at 11 025 Hz: once as two commands and once as one, whichever is cheaper. It stores every keyframe of the 90 s,
the recipe 17, so the floor with the 17 wanted ones only (`select`) is said beside it. The ordinary way is the filter
`fps=0.2,scale=-2:480` over the whole file, and all audio, as video2dataset calls ffmpeg.
"""

import statistics
import tempfile
from pathlib import Path

from _ffmpeg import ONE_THREAD, cpu_s, ffmpeg
from _youtube_like import write_youtube_like
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from result import Result

FLOOR_LIMIT = 1.3
ORDINARY_LIMIT = 1 / 8
ROUNDS = 5
SETTINGS = PrepareSettings()
_JPEG = ("-c:v", "mjpeg", "-q:v", "2", *ONE_THREAD)  # 90 of Pillow's quality: files of the same size
_AUDIO = ("-ac", "1", "-ar", str(SETTINGS.audio_rate_hz), "-c:a", "flac", *ONE_THREAD)


def run() -> list[Result]:
    """Medians over two videos, taken in turns."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as name:
        folder = Path(name)
        videos = [write_youtube_like(folder / f"{seed}.mp4", seed) for seed in range(2)]
        ways = {
            "gavt": _prepare,
            "floor in two": _floor_in_two,
            "floor in one": _floor_in_one,
            "floor of 17": _floor_of_17,
        }
        taken: dict[str, list[float]] = {way: [] for way in (*ways, "ordinary")}
        for way in ways.values():
            way(videos[0], folder)  # the first time loads libraries and fills the page cache
        for _ in range(ROUNDS):
            for video in videos:
                for way, work in ways.items():
                    taken[way].append(cpu_s(lambda work=work, video=video: work(video, folder)))  # type: ignore[misc]
        for video in videos:
            taken["ordinary"].append(cpu_s(lambda video=video: _ordinary(video, folder)))  # type: ignore[misc]
    middle = {way: statistics.median(times) for way, times in taken.items()}
    floor = min(middle["floor in two"], middle["floor in one"])
    against_floor, against_ordinary = middle["gavt"] / floor, middle["gavt"] / middle["ordinary"]
    ours = f"(gavt {middle['gavt']:.3f} s"
    return [
        Result(
            "sparse_recipe / ffmpeg's keyframes",
            against_floor,
            "",
            FLOOR_LIMIT,
            against_floor <= FLOOR_LIMIT,
            f"ffmpeg -skip_frame nokey, scale, JPEG, audio: {floor:.3f} s {ours}; its 17 frames only "
            f"{middle['floor of 17']:.3f} s)",
        ),
        Result(
            "sparse_recipe / decoding everything",
            against_ordinary,
            "",
            ORDINARY_LIMIT,
            against_ordinary <= ORDINARY_LIMIT,
            f"ffmpeg fps=0.2,scale=-2:480 and audio: {middle['ordinary']:.2f} s {ours})",
        ),
    ]


def _prepare(video: Path, folder: Path) -> None:
    prepared = prepare_video(VideoRow(video="video", source=str(video)), SETTINGS)
    if len(prepared.samples) != 17:
        raise RuntimeError(f"expected 17 samples of {video}, found {len(prepared.samples)}")


def _range(video: Path) -> tuple[str, ...]:
    return ("-ss", "99", "-t", "90", *ONE_THREAD, "-i", str(video))  # the middle of 288 s


def _pictures(folder: Path, *filters: str) -> tuple[str, ...]:
    chain = ",".join((*filters, "scale=-2:480"))
    return ("-an", "-vf", chain, "-fps_mode", "passthrough", *_JPEG, str(folder / "%04d.jpg"))


def _floor_in_two(video: Path, folder: Path) -> None:
    ffmpeg("-skip_frame", "nokey", *_range(video), *_pictures(folder))
    ffmpeg(*_range(video), "-vn", *_AUDIO, str(folder / "audio.flac"))


def _floor_in_one(video: Path, folder: Path) -> None:
    ffmpeg("-skip_frame", "nokey", *_range(video), *_pictures(folder), "-vn", *_AUDIO, str(folder / "audio.flac"))


def _floor_of_17(video: Path, folder: Path) -> None:
    every_5_s = r"select=isnan(prev_selected_t)+gte(floor(t/5)\,floor(prev_selected_t/5)+1)"
    ffmpeg("-skip_frame", "nokey", *_range(video), *_pictures(folder, every_5_s))
    ffmpeg(*_range(video), "-vn", *_AUDIO, str(folder / "audio.flac"))


def _ordinary(video: Path, folder: Path) -> None:
    pictures = ("-an", "-vf", "fps=0.2,scale=-2:480", *_JPEG, str(folder / "%04d.jpg"))
    ffmpeg(*ONE_THREAD, "-i", str(video), *pictures, "-vn", *_AUDIO, str(folder / "audio.flac"))
