"""Videos on a web server become the shards that the same videos on disk do, at a pace that all workers share."""

import time
from pathlib import Path

import pytest

from barcode_video import write_video
from cluster.ray_pool import RayPool
from faulty_proxy import Fault, FileServer
from pipeline.prepare.fetch.settings import FetchSettings
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.prepare import in_this_process, on_ray, prepare
from pipeline.prepare.settings import PrepareSettings
from pipeline.shards.ledger import read_ledger
from pipeline.shards.shard_set import ShardSet

SETTINGS = PrepareSettings(min_clip_s=1, frame_rate_hz=1, audio_samples=11025, rows_per_shard=2, frame_choice="exact")
RATE_HZ = 4.0


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(6):
        write_video(folder / f"{number}.mp4", 2 + number % 3)
    return folder


def samples(out: Path) -> list[tuple[str, list[bytes], bytes]]:
    """What a shard set holds, without where it came from."""
    shards = ShardSet.open(str(out))
    found = [shards.read(index) for index in range(len(shards))]
    return [(sample.key, sample.images, sample.audio) for sample in found]


def test_two_workers_fetch_what_they_decode_and_share_the_pace(videos: Path, tmp_path: Path) -> None:
    prepare(VideoList([str(videos)]), str(tmp_path / "local"), SETTINGS, in_this_process)
    with FileServer(videos) as server:
        server.next("/1.mp4", Fault(cut_after=3000), Fault(status=503))
        server.always("/7.mp4", Fault(status=503))
        names = [f"{server.url}/{number}.mp4" for number in (0, 1, 2, 3, 4, 5, 6, 7)]
        (tmp_path / "list.txt").write_text("\n".join(names) + "\n")
        fetch = FetchSettings(per_host_rate_hz=RATE_HZ, attempts=2)
        with RayPool(workers=2) as pool:
            begun = time.monotonic()
            prepare(VideoList([str(tmp_path / "list.txt")]), str(tmp_path / "web"), SETTINGS, on_ray(pool), fetch=fetch)
        for number, request in enumerate(server.requests):
            assert request.time_s - begun >= number / RATE_HZ
    reasons = {entry.video: (entry.reason, entry.message) for entry in read_ledger(str(tmp_path / "web"))}
    assert reasons["6"][0] == "missing"
    assert reasons["7"][0] == "unreachable"
    assert "gave up after 2 attempts" in str(reasons["7"][1])
    assert {reason for video, (reason, _) in reasons.items() if video not in "67"} == {None}
    assert samples(tmp_path / "web") == samples(tmp_path / "local")
