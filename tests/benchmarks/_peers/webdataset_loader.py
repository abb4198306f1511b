"""webdataset as its documentation shows it: shards shuffled, a buffer of 10 000 samples, batches made in the workers.

From S3 it reads through `pipe:curl`, its usual way, of signed addresses: it has no client of its own.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import webdataset

from _peers.decoding import collate, decode
from _peers.job import Job

BUFFER = 10_000


def open_loader(job: Job) -> Callable[[int], Iterator[int]]:
    """Workers that stay from epoch to epoch; the remainder is kept."""
    urls = (
        _signed(job.url) if job.url.startswith("s3://") else [str(tar) for tar in sorted(Path(job.url).glob("*.tar"))]
    )
    dataset = (
        webdataset.WebDataset(urls, shardshuffle=len(urls), empty_check=False)
        .shuffle(BUFFER)
        .map(partial(decode, size=job.frame_size))
        .batched(job.batch_size, collation_fn=collate)
    )
    loader = webdataset.WebLoader(
        dataset, batch_size=None, num_workers=job.workers, persistent_workers=True, prefetch_factor=4
    )
    return lambda epoch: (len(batch[0]) for batch in loader)


def _signed(url: str) -> list[str]:
    import botocore.session
    from botocore.config import Config

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client = botocore.session.get_session().create_client(
        "s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=Config(s3={"addressing_style": "path"})
    )
    names = [item["Key"] for item in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]]
    addresses = (
        client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": name})
        for name in names
        if name.endswith(".tar")
    )
    return [f"pipe:curl -s -L '{address}'" for address in addresses]
