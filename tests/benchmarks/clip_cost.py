"""Reading a clip costs what the clip costs: 15 s from the middle of 10 minutes against a file of 15 s."""

import statistics
import tempfile
import time
from pathlib import Path

from _looped_video import write_looped
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.settings import PrepareSettings
from pipeline.prepare.video_samples import prepare_video
from result import Result

LIMIT = 2.0
SETTINGS = PrepareSettings(max_clip_s=15)
ROUNDS = 7


def run() -> list[Result]:
    """Median time of preparing each, taken in turns; 720p, keyframe every 10 s."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        short = write_looped(Path(folder) / "short.mp4", 15, 1, (1280, 720))
        long = write_looped(Path(folder) / "long.mp4", 15, 41, (1280, 720))  # its middle is a repeat
        times: dict[Path, list[float]] = {short: [], long: []}
        for path in times:
            _prepare(path)  # the first time loads libraries and fills the page cache
        for _ in range(ROUNDS):
            for path, taken in times.items():
                taken.append(_prepare(path))
    file_s, clip_s = (statistics.median(times[path]) for path in (short, long))
    ratio = clip_s / file_s
    peer = f"a file of 15 s: {file_s:.3f} s (15 s of 10 minutes: {clip_s:.3f} s)"
    return [Result("clip_cost", ratio, "", LIMIT, ratio <= LIMIT, peer)]


def _prepare(path: Path) -> float:
    begun = time.perf_counter()
    prepared = prepare_video(VideoRow(video="video", source=str(path)), SETTINGS)
    taken = time.perf_counter() - begun
    if len(prepared.samples) != 2:
        raise RuntimeError(f"expected 2 samples of {path}, found {len(prepared.samples)}")
    return taken
