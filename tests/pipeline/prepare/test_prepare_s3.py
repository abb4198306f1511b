"""gavt prepare from object storage to object storage, through Ray."""

import io
import json
import tarfile
from pathlib import Path

import ray

from barcode_video import write_video
from cluster import storage
from cluster.ray_pool import RayPool
from jobs.local.s3 import S3Server
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.prepare import on_ray, prepare
from pipeline.prepare.settings import PrepareSettings
from pipeline.shards.ledger import read_ledger

SETTINGS = PrepareSettings(min_clip_s=1, frame_rate_hz=1, audio_samples=11025, rows_per_shard=2)


def session_folder() -> Path:
    """Where Ray keeps its logs and the like."""
    return Path(ray._private.worker._global_node.get_session_dir_path())


def test_a_list_on_s3_becomes_a_shard_set_on_s3_and_is_gone_on_with(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    for number in range(2):
        storage.upload(write_video(tmp_path / f"{number}.mp4", 4), f"{s3_bucket}/videos/{number}.mp4")
    storage.write_bytes(f"{s3_bucket}/videos/empty.mp4", b"")
    rows = [{"source": name} for name in ("0.mp4", "1.mp4", "empty.mp4", "gone.mp4")]
    storage.write_text(f"{s3_bucket}/videos/list.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    manifest = VideoList([f"{s3_bucket}/videos/list.jsonl"])
    out = f"{s3_bucket}/shards"
    with RayPool(workers=1) as pool:
        prepare(manifest, out, SETTINGS, on_ray(pool))
        assert [entry.reason for entry in read_ledger(out)] == [None, None, "unreadable", "missing"]
        index = json.loads(storage.read_bytes(f"{out}/shard-000000.json"))
        entry = index["samples"][-1]
        piece = storage.read_range(f"{out}/shard-000000.tar", entry["offset"], entry["bytes"])
        with tarfile.open(fileobj=io.BytesIO(piece)) as part:
            assert len(part.getnames()) == 3
        before = {file.url: storage.read_bytes(file.url) for file in storage.list_files(out)}
        storage.remove(f"{out}/shard-000000.json")
        storage.remove(f"{out}/dataset.json")
        prepare(manifest, out, SETTINGS, on_ray(pool))
        written = [path for path in session_folder().rglob("*") if path.is_file() and not path.is_symlink()]
        assert len(written) > 10  # Ray's logs are among them
        assert [path for path in written if s3_server.secret_key.encode() in path.read_bytes()] == []
    assert {file.url: storage.read_bytes(file.url) for file in storage.list_files(out)} == before
    # a prefix is walked like a folder
    assert [row.video for row in VideoList([f"{s3_bucket}/videos"])] == ["0", "1", "empty"]
