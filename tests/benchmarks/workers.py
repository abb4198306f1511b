"""What a second worker brings on two cores, and what Ray takes of the time."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from _youtube_like import write_youtube_like
from cluster.ray_pool import RayPool
from cluster.step import Step
from pipeline.prepare.build import ShardTask, build_shard
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.prepare import Workers, on_ray
from pipeline.prepare.settings import PrepareSettings
from pipeline.shards.ledger import InputEntry
from result import Result

SHARDS = 12
VIDEOS_PER_SHARD = 6
LEAST_SPEEDUP = 1.85
MOST_RAY = 0.03
SETTINGS = PrepareSettings(rows_per_shard=VIDEOS_PER_SHARD)


def run() -> list[Result]:
    """The sparse recipe on YouTube-like videos: by one worker without Ray, by one with it, and by two; twice, in turns.

    Only the work is timed: Ray starts once for a whole run. Without Ray the decoding process is the same.
    """
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        video = write_youtube_like(Path(folder) / "video.mp4", 0)
        plain, one, two = [], [], []
        for _ in range(2):
            plain.append(_time(video, _without_ray))
            one.append(_on_ray(video, 1))
            two.append(_on_ray(video, 2))
    plain_s, one_s, two_s = min(plain), min(one), min(two)
    speedup, share = one_s / two_s, (one_s - plain_s) / one_s
    times = f"one worker {one_s:.1f} s, two {two_s:.1f} s for {SHARDS * VIDEOS_PER_SHARD} videos (figure: at least)"
    alone = f"the same work without Ray {plain_s:.1f} s, with it {one_s:.1f} s"
    return [
        Result("two_workers", speedup, "", LEAST_SPEEDUP, speedup >= LEAST_SPEEDUP, times),
        Result("ray_share", share, "", MOST_RAY, share <= MOST_RAY, alone),
    ]


def _on_ray(video: Path, workers: int) -> float:
    with RayPool(workers=workers) as pool:
        return _time(video, on_ray(pool))


def _time(video: Path, workers: Workers) -> float:
    with tempfile.TemporaryDirectory(prefix="gavt-") as out:
        _work(workers, _tasks(video, out, 2, 1))  # each worker loads its libraries
        begun = time.perf_counter()
        _work(workers, _tasks(video, out, SHARDS, VIDEOS_PER_SHARD))
        return time.perf_counter() - begun


def _tasks(video: Path, out: str, shards: int, videos: int) -> list[ShardTask]:
    return [
        ShardTask(shard, [VideoRow(f"{shard}-{number}", str(video)) for number in range(videos)], out, SETTINGS)
        for shard in range(shards)
    ]


def _work(workers: Workers, tasks: list[ShardTask]) -> None:
    samples = 0
    for step in workers(tasks):
        samples += sum(entry.samples for entry in step.value or ())
    if samples != 17 * sum(len(task.rows) for task in tasks):
        raise RuntimeError(f"expected 17 samples a video, found {samples}")


def _without_ray(tasks: Iterable[ShardTask]) -> Iterator[Step[ShardTask, list[InputEntry]]]:
    for task in tasks:
        for entries in build_shard(task):
            yield Step(task, "value", entries)
