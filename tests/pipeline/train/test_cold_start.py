"""A start asks object storage for no more on machines of many ranks than on machines of one, but for what a rank alone
holds: counted at a real S3 server, with the real code from the settings to the samples of the first step."""

from pathlib import Path

import pytest

from cold_start import ColdStart, counts, most_of_one, requests_of
from jobs.local.s3 import S3Server
from tiny_shards import write_shard_set

ONCE = ("run", "manifest.json", "dataset.json")
ONCE_A_MACHINE = ("settings", "index of a shard", "version of a shard", "bytes of a shard")
BY_RANK = ("header of a rank's states", "states of a rank")


@pytest.mark.parametrize(
    ("machines", "ranks", "samples"),
    [(2, 5, 48), pytest.param(16, 64, 4096, marks=[pytest.mark.slow, pytest.mark.timeout(3000)], id="1024 ranks")],
)
def test_requests_of_a_start_go_by_machines_and_not_by_ranks(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path, machines: int, ranks: int, samples: int
) -> None:
    shards = write_shard_set(tmp_path / "shards", samples, 8)
    jobs = [
        ColdStart(f"{s3_bucket}/of-{number}", shards, samples, machines, machines * number) for number in (1, ranks)
    ]
    few, many = requests_of(jobs, tmp_path, s3_server.endpoint)
    for job, requests in zip(jobs, (few, many), strict=True):
        found, most = counts(requests), most_of_one(requests)
        assert found["settings"] == 2 * machines  # a file and its base
        assert all(most[kind] <= machines for kind in ONCE_A_MACHINE)
        assert [found[kind] for kind in BY_RANK] == [job.ranks] * 2
    for kind in ONCE:
        more = counts(many)[kind] - counts(few)[kind]
        assert 0 <= more <= machines * ranks // 1000  # a page of a listing has so many names
        assert counts(few)[kind] > 0
