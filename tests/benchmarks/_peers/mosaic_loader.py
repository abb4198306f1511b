"""Mosaic streaming over MDS files: its own shuffle and its own loader."""

from collections.abc import Callable, Iterator
from pathlib import Path

from streaming import StreamingDataLoader, StreamingDataset
from streaming.base.util import clean_stale_shared_memory

from _peers.decoding import collate, decode
from _peers.job import Job


class _Samples(StreamingDataset):
    frame_size = 0

    def __getitem__(self, at: int) -> tuple[object, object, object]:
        return decode(super().__getitem__(at), self.frame_size)


def open_loader(job: Job) -> Callable[[int], Iterator[int]]:
    """Workers that stay from epoch to epoch; local files are read where they lie."""
    clean_stale_shared_memory()
    remote = job.url if job.url.startswith("s3://") else None
    local = str(Path(job.scratch) / "mds") if remote else job.url
    dataset = _Samples(remote=remote, local=local, shuffle=True, batch_size=job.batch_size)
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
