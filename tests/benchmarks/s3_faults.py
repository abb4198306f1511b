"""A run on S3 of which five in a hundred requests are refused, cut off, unanswered or slow, beside a calm one."""

import hashlib
import os
import tempfile
import time
from pathlib import Path

from _s3_bucket import new_bucket
from barcode_video import write_video
from cluster import storage
from cluster.ray_pool import RayPool
from faulty_proxy import FaultyProxy
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.prepare import on_ray, prepare
from pipeline.prepare.settings import PrepareSettings
from result import Result

VIDEOS = 120
SHARE = 0.05
MOST_COST = 2.0
SETTINGS = PrepareSettings(min_clip_s=1, frame_rate_hz=1, audio_samples=11025, rows_per_shard=4, frame_choice="exact")


def run() -> list[Result]:
    """Videos and shards on a real S3 server; the calm run goes through the same proxy.

    Raises:
        NotHere: no server can be started on this machine.
    """
    with (
        tempfile.TemporaryDirectory(prefix="gavt-") as folder,
        new_bucket() as bucket,
        FaultyProxy(os.environ["AWS_ENDPOINT_URL"], 0.0) as proxy,
    ):
        os.environ["AWS_ENDPOINT_URL"] = proxy.url
        video = write_video(Path(folder) / "video.mp4", 10, size=(640, 360))
        for number in range(VIDEOS):
            storage.upload(video, f"{bucket}/videos/{number:03d}.mp4")
        calm_s, calm = _prepare(bucket, "calm")
        proxy.counts.clear()
        proxy.share = SHARE
        stormy_s, stormy = _prepare(bucket, "stormy")
        proxy.share = 0.0
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(proxy.counts.items()))
        different = len(dict(calm.items() ^ stormy.items()))
    cost = stormy_s / calm_s
    return [
        Result("s3_faults lost", different, "files", 0, different == 0, f"{len(calm)} files of a calm run"),
        Result("s3_faults cost", cost, "", MOST_COST, cost <= MOST_COST, f"calm {calm_s:.1f} s; requests: {faults}"),
    ]


def _prepare(bucket: str, name: str) -> tuple[float, dict[str, str]]:
    """Time of the run (s), and the hash of every file that it left."""
    out = f"{bucket}/{name}"
    begun = time.perf_counter()
    with RayPool(workers=2) as pool:
        prepare(VideoList([f"{bucket}/videos"]), out, SETTINGS, on_ray(pool))
    taken = time.perf_counter() - begun
    files = [file.url for file in storage.list_files(out)]
    return taken, {url.removeprefix(out): hashlib.sha256(storage.read_bytes(url)).hexdigest() for url in files}
