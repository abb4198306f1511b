"""What decord still serves: the same work with decord where it is sure, and by PyAV alone. CPU time.

`the recipe`: 17 exact frames of the middle 90 s of YouTube-like files with their sound; `every frame`: all frames of
20 s as RGB arrays. Beside each ratio stands how many of the runs of packets decord served.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import exact_mode
import pipeline.video.frames as frames_module
from _ffmpeg import cpu_s
from _youtube_like import write_youtube_like
from result import Result

LIMIT = 1.3  # what it may cost, since each run is copied into a clip for it
ROUNDS = 3


def run() -> list[Result]:
    """Medians over two videos, taken in turns."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as name:
        videos = [write_youtube_like(Path(name) / f"{seed}.mp4", seed) for seed in range(2)]
        return [
            _compare("the recipe", videos, exact_mode.prepare_exactly),
            _compare("every frame", videos, exact_mode.read_every_frame),
        ]


def _compare(name: str, videos: list[Path], work: Callable[[Path], None]) -> Result:
    taken: dict[bool, list[float]] = {True: [], False: []}
    with _served(True) as counts:
        work(videos[0])  # the first time loads libraries and fills the page cache
        served, runs = counts
    for _ in range(ROUNDS):
        for video in videos:
            for allowed in (True, False):
                with _served(allowed):
                    taken[allowed].append(cpu_s(lambda video=video: work(video)))  # type: ignore[misc]
    with_decord, alone = statistics.median(taken[True]), statistics.median(taken[False])
    words = f"PyAV alone: {alone:.2f} s (with decord {with_decord:.2f} s, which served {served} of {runs} runs)"
    return Result(f"decord_share, {name}", with_decord / alone, "", LIMIT, with_decord / alone <= LIMIT, words)


@contextmanager
def _served(allowed: bool) -> Iterator[list[int]]:
    """Let decord serve what it is sure of, or nothing; counts what it served, and all runs."""
    counts = [0, 0]
    find_runs, decode = frames_module.find_runs, frames_module.decode_with_decord

    def found(*arguments: object) -> object:
        for one in find_runs(*arguments):  # type: ignore[arg-type]
            counts[1] += 1
            yield one

    def decoded(*arguments: object) -> object:
        frames = decode(*arguments) if allowed else []  # type: ignore[arg-type]
        counts[0] += bool(frames)
        return frames

    frames_module.find_runs, frames_module.decode_with_decord = found, decoded  # type: ignore[assignment]
    try:
        yield counts
    finally:
        frames_module.find_runs, frames_module.decode_with_decord = find_runs, decode
