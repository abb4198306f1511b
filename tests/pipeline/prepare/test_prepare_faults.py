"""Storage that misbehaves costs time and nothing else: one in ten requests refused, cut off, unanswered or slow."""

import hashlib
from pathlib import Path

import pytest

from barcode_video import write_video
from cluster import storage
from cluster.ray_pool import RayPool
from faulty_proxy import FaultyProxy
from jobs.local.s3 import S3Server
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.prepare import in_this_process, on_ray, prepare
from pipeline.prepare.settings import PrepareSettings
from pipeline.shards.ledger import read_ledger

VIDEOS = 12
SHARE = 0.1
SETTINGS = PrepareSettings(min_clip_s=1, frame_rate_hz=1, audio_samples=11025, rows_per_shard=2, frame_choice="exact")


def tars(url: str) -> dict[str, str]:
    files = [file.url for file in storage.list_files(url) if file.url.endswith((".tar", ".json", ".jsonl"))]
    return {file.removeprefix(url): hashlib.sha256(storage.read_bytes(file)).hexdigest() for file in files}


def test_a_tenth_of_faulty_requests_costs_no_video_and_no_byte(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video(tmp_path / "video.mp4", 6)
    for number in range(VIDEOS):
        storage.upload(video, f"{s3_bucket}/videos/{number:02d}.mp4")
    prepare(VideoList([f"{s3_bucket}/videos"]), f"{s3_bucket}/calm", SETTINGS, in_this_process)
    with FaultyProxy(s3_server.endpoint, SHARE) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        with RayPool(workers=2) as pool:
            dataset = prepare(VideoList([f"{s3_bucket}/videos"]), f"{s3_bucket}/stormy", SETTINGS, on_ray(pool))
        assert len(set(proxy.counts) - {"passed"}) >= 3
        monkeypatch.undo()
    assert (dataset.videos, dataset.failed) == (VIDEOS, 0)
    assert all(entry.attempts == 1 for entry in read_ledger(f"{s3_bucket}/stormy"))
    assert tars(f"{s3_bucket}/stormy") == tars(f"{s3_bucket}/calm")
