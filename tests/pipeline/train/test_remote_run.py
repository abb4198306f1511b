"""What a run on object storage sends there."""

from collections import Counter

import pytest

from cluster import storage
from faulty_proxy import FaultyProxy
from jobs.local.s3 import S3Server
from pipeline.train.remote_run import run_place
from pipeline.train.settings import TrainSettings


def test_only_what_has_changed_is_sent_again(group, s3_server: S3Server, s3_bucket, monkeypatch: pytest.MonkeyPatch):
    with FaultyProxy(s3_server.endpoint, share=0) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)

        def put() -> Counter[str]:
            """Names in the run of what was sent since the last call, and how often."""
            requests, proxy.requests[:] = list(proxy.requests), []
            return Counter(one.path.partition("/run/")[2] for one in requests if one.method == "PUT")

        run = f"{s3_bucket}/run"
        for start in range(2):
            with run_place(run, group, TrainSettings()) as (folder, publish):
                maps, log = folder / "maps", folder / "metrics.jsonl"
                maps.mkdir(exist_ok=True)
                for number in range(3):
                    name = f"step-{start}{number}.png"
                    (maps / name).write_bytes(bytes(1000))
                    with log.open("a") as file:
                        file.write("a record\n")
                    put()
                    publish()
                    assert put() == Counter([f"maps/{name}", "metrics.jsonl"])
                publish()
                assert put() == Counter()
                (maps / "step-00.png").write_bytes(bytes(999))
                storage.remove(f"{run}/maps/step-01.png")  # by somebody else
                publish()
                assert put() == Counter(["maps/step-00.png", "maps/step-01.png"])
        assert len(storage.list_files(f"{run}/maps")) == 6
        assert storage.read_text(f"{run}/metrics.jsonl").count("a record") == 6
