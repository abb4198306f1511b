"""A Ray cluster that takes jobs, for the tests of one file."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest
from ray._private.authentication_test_utils import reset_auth_token_state

from jobs.local.ray_cluster import RayCluster


@contextmanager
def ray_cluster_with_jobs(
    cpus: int, nodes: int = 1, variables: Mapping[str, str] = MappingProxyType({}), python: str = sys.executable
) -> Iterator[RayCluster]:
    """It runs in the block, and this process has its token. Both have these variables."""
    root = Path(tempfile.mkdtemp(prefix="gavt-rj-", dir="/tmp"))
    cluster = RayCluster(root, cpus, dashboard=True, python=python)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            for name, value in {**cluster.environment(), **variables}.items():
                if name != "HOME":
                    patch.setenv(name, value)
            reset_auth_token_state()  # which Ray reads once
            for _ in range(nodes):
                cluster.start_node()
            yield cluster
    finally:
        reset_auth_token_state()
        cluster.stop()
        shutil.rmtree(root)
