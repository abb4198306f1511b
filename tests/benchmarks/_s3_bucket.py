"""A bucket to measure against."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import s3fs

from jobs.local import s3
from result import NotHere


@contextmanager
def new_bucket() -> Iterator[str]:
    """A new bucket on a new server; the variables of S3 clients point at it.

    Raises:
        NotHere: no server can be started on this machine.
    """
    reason = s3.why_not()
    if reason is not None:
        raise NotHere(reason)
    root = Path(tempfile.mkdtemp(prefix="gavt-s3-"))
    server = s3.start(root)
    before = dict(os.environ)
    try:
        os.environ |= server.environment() | {"S3_ENDPOINT_URL": server.endpoint}
        name = f"bench-{uuid.uuid4().hex[:8]}"
        s3fs.S3FileSystem(skip_instance_cache=True, endpoint_url=server.endpoint).mkdir(name)
        yield f"s3://{name}"
    finally:
        os.environ.clear()
        os.environ.update(before)
        s3.stop(root)
        shutil.rmtree(root)
