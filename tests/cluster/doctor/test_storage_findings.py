"""Object storage that refuses, is away, or lives at another time: what is said of it."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from cluster import storage
from cluster.doctor.object_storage import object_storage, server_clock
from hub_server import running_hub
from jobs.local.s3 import S3Server
from storage_servers import forget_conditions

SECRET = "not the secret of that key"


def test_a_bucket_that_can_be_used_is_measured_and_left_as_it_was(s3_bucket: str) -> None:
    found = {finding.check: finding for finding in object_storage(f"{s3_bucket}/runs")}
    assert list(found) == ["clock", "storage", "storage use", "storage pace"]
    assert [found[name].state for name in ("clock", "storage", "storage use")] == ["ok", "ok", "ok"]
    assert "MB/s" in found["storage pace"].found
    assert storage.list_files(s3_bucket) == []


def test_googles_storage_can_be_used_and_the_hub_only_read(gcs_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = object_storage(f"{gcs_bucket}/runs")
    assert [(finding.check, finding.state) for finding in found[:2]] == [("storage", "ok"), ("storage use", "ok")]
    assert storage.list_files(gcs_bucket) == []
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.commit("someone/videos", {"x": b""})
        use = object_storage("hf://datasets/someone/videos")[-1]
        assert (use.state, use.found) == ("warn", "hf://datasets/someone/videos may be read, not written")
        assert "s3:// or gs://" in use.advice
        assert "no such repository" in object_storage("hf://datasets/no/body")[-1].found


def test_a_server_that_ignores_conditions_is_told(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_conditions(monkeypatch)
    use = object_storage(s3_bucket)[-1]
    assert (use.check, use.state) == ("storage use", "fail")
    assert "two jobs could take the same run" in use.advice


def test_a_wrong_secret_is_told_by_the_name_of_its_variable(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    found = object_storage(s3_bucket)[-1]
    assert (found.check, found.state) == ("storage", "fail")
    assert "AWS_SECRET_ACCESS_KEY is not the secret of AWS_ACCESS_KEY_ID" in found.advice
    assert SECRET not in str(found)


def test_a_wrong_key_a_missing_bucket_and_missing_keys_are_told_apart(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = object_storage("s3://no-such-bucket-here")[-1]
    assert (missing.state, missing.advice) == ("fail", "make the bucket, or correct its name")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    assert "AWS_ACCESS_KEY_ID names no account" in object_storage(s3_bucket)[-1].advice
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "give the machine a role" in object_storage(s3_bucket)[-1].advice


def test_a_server_that_is_away_is_told_soon(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GAVT_STORAGE_PATIENCE_S", "1")
    found = object_storage("s3://bucket")
    assert [finding.state for finding in found] == ["fail"]
    assert found[0].advice.startswith("see AWS_ENDPOINT_URL, and whether this machine may connect")


@pytest.fixture
def other_time() -> Iterator[str]:
    """A server whose clock stands in 2020."""

    class Late(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response_only(403)
            self.send_header("Date", "Wed, 01 Jan 2020 00:00:00 GMT")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Late)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_clock_that_is_off_is_told_with_the_command_that_sets_it(
    s3_server: S3Server, other_time: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = server_clock("s3://bucket")
    assert right is not None
    assert right.state == "ok"
    monkeypatch.setenv("AWS_ENDPOINT_URL", other_time)
    found = server_clock("s3://bucket")
    assert found is not None
    assert found.state == "fail"
    assert "s ahead of the server's" in found.found
    assert "chronyc makestep" in found.advice
