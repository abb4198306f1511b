"""This project's loader, not augmenting; from S3 through the node's cache in the scratch folder."""

from collections.abc import Callable, Iterator

from _peers.job import Job
from pipeline.features.settings import FeatureSettings
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import plan_reading
from pipeline.stream.settings import CacheSettings, DataSettings
from pipeline.stream.worker_pool import WorkerPool


def open_loader(job: Job) -> Callable[[int], Iterator[int]]:
    """Workers that stay from epoch to epoch; each epoch is gone through to its last sample."""
    data = DataSettings(workers=job.workers, cache=CacheSettings(folder=job.scratch))
    pool = WorkerPool(job.workers, data.deadline_s, [job.url])  # starts while the shard set is opened
    plan = plan_reading(job.url, FeatureSettings(frame_size=job.frame_size), data, seed=0, augment=False)
    loader = Loader(plan, job.batch_size, pool=pool)

    def epoch(number: int) -> Iterator[int]:
        begin, end = number * len(plan), (number + 1) * len(plan)
        pieces = (range(start, min(start + job.batch_size, end)) for start in range(begin, end, job.batch_size))
        for batch in loader.batches(pieces):
            if batch.replaced:
                raise RuntimeError(f"{job.url}: {batch.replaced} samples were bad")
            yield len(batch)

    return epoch
