"""Starting a finished run of 10 000 shards again: two listings and the totals, no request a shard."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import s3fs

from cluster import storage
from jobs.local import s3
from pipeline.prepare.manifests.read import VideoList
from pipeline.prepare.plan import settle_plan
from pipeline.prepare.settings import PrepareSettings
from pipeline.shards.dataset import Dataset, ShardEntry
from pipeline.shards.shard_files import shard_name
from result import Result

SHARDS = 10_000
ROWS_PER_SHARD = 64
LIMIT_S = 10.0


def run() -> list[Result]:
    """The whole command, start of Python included, on local disk and on S3 where a server can be started."""
    with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
        listed = Path(folder) / "list.txt"
        listed.write_text("".join(f"/videos/{number:07d}.mp4\n" for number in range(SHARDS * ROWS_PER_SHARD)))
        results = [_resume("resume_finished", str(listed), f"{folder}/out", os.environ)]
    if s3.why_not() is None:
        root = Path(tempfile.mkdtemp(prefix="gavt-s3-"))
        server = s3.start(root)
        try:
            os.environ |= server.environment()
            name = f"bench-{uuid.uuid4().hex[:8]}"
            s3fs.S3FileSystem(skip_instance_cache=True, endpoint_url=server.endpoint).mkdir(name)
            with tempfile.TemporaryDirectory(prefix="gavt-") as folder:
                listed = Path(folder) / "list.txt"
                listed.write_text("".join(f"/videos/{number:07d}.mp4\n" for number in range(SHARDS * ROWS_PER_SHARD)))
                results.append(_resume("resume_finished s3", str(listed), f"s3://{name}/out", os.environ))
        finally:
            s3.stop(root)
            shutil.rmtree(root)
    return results


def _resume(name: str, listed: str, out: str, environment: "os._Environ[str]") -> Result:
    _finish(listed, out)
    command = [sys.executable, "-m", "jobs.cli", "prepare", listed, "--out", out, "--json"]
    command += ["--set", f"prepare.rows_per_shard={ROWS_PER_SHARD}"]
    begun = time.perf_counter()
    ended = subprocess.run(
        command, capture_output=True, text=True, env=dict(environment), cwd=Path(__file__).parents[2]
    )
    taken = time.perf_counter() - begun
    if ended.returncode or json.loads(ended.stdout.splitlines()[-1])["shards"] != SHARDS:
        raise RuntimeError(ended.stderr)
    begun = time.perf_counter()
    files = len(storage.list_files(out))
    peer = f"one listing of its {files} files: {time.perf_counter() - begun:.1f} s"
    return Result(name, taken, "s", LIMIT_S, taken <= LIMIT_S, peer)


def _finish(listed: str, out: str) -> None:
    """What a finished run leaves, with shards of a byte."""
    plan = settle_plan(out, VideoList([listed]), PrepareSettings(rows_per_shard=ROWS_PER_SHARD))
    names = [f"{shard_name(number)}.{kind}" for number in range(plan.shards) for kind in ("tar", "json")]
    with ThreadPoolExecutor(32) as writers:
        list(writers.map(lambda name: storage.write_bytes(storage.join(out, name), b"x", durable=False), names))
    shards = [
        ShardEntry(name=f"{shard_name(number)}.tar", samples=1000, bytes=1, sha256="0" * 64)
        for number in range(plan.shards)
    ]
    dataset = Dataset(
        samples=1000 * SHARDS,
        videos=plan.videos,
        failed=0,
        layouts=["frame"],
        plan_hash=plan.hash,
        shards=shards,
        reasons={},
        examples={},
    )
    storage.write_text(storage.join(out, "ledger.jsonl"), "")
    storage.write_text(storage.join(out, "dataset.json"), dataset.model_dump_json())
