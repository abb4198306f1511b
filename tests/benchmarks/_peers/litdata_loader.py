"""litData over its own chunks: its own shuffle and its own loader."""

import os
from collections.abc import Callable, Iterator

from litdata import StreamingDataLoader, StreamingDataset
from litdata.streaming import downloader

from _peers.decoding import collate, decode
from _peers.job import Job


class _Samples(StreamingDataset):
    frame_size = 0

    def __getitem__(self, index: object) -> tuple[object, object, object]:
        return decode(super().__getitem__(index), self.frame_size)


def open_loader(job: Job) -> Callable[[int], Iterator[int]]:
    """Workers that stay from epoch to epoch; local files are read where they lie."""
    places: dict[str, object] = {"cache_dir": job.scratch}
    if job.url.startswith("s3://"):
        # its faster client refuses a server without TLS, and has no setting for it
        downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True
        places["storage_options"] = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
    dataset = _Samples(job.url, shuffle=True, drop_last=False, **places)
    dataset.frame_size = job.frame_size
    loader = StreamingDataLoader(
        dataset,
        batch_size=job.batch_size,
        num_workers=job.workers,
        collate_fn=collate,
        persistent_workers=True,
        prefetch_factor=4,
    )
    return lambda epoch: (len(batch[0]) for batch in loader)
