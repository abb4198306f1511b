import threading
from itertools import count

import pytest
import torch

from pipeline.features.settings import FeatureSettings
from pipeline.stream.ahead import Ahead
from pipeline.stream.device_copy import DeviceCopy
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import plan_reading
from pipeline.stream.settings import DataSettings
from pipeline.stream.worker_pool import WorkerPool
from tiny_shards import FEATURES, write_shard_set


def test_two_items_are_made_before_they_are_asked_for_and_no_more():
    made = threading.Semaphore(0)

    def items():
        for item in count():
            made.release()
            yield item

    with Ahead(items()) as ahead:
        for taken in range(3):
            assert ahead.has_more()
            assert next(ahead) == taken
        for _ in range(5):
            assert made.acquire(timeout=10)  # those three, and two ahead
        assert not made.acquire(timeout=0.1)


def test_what_goes_wrong_is_raised_behind_what_was_made_before_it():
    def items():
        yield "first"
        raise ValueError("no more")

    with Ahead(items()) as ahead:
        assert next(ahead) == "first"
        assert not ahead.has_more()
        for _ in range(2):
            with pytest.raises(ValueError, match="no more"):
                next(ahead)


def test_closing_it_ends_the_thread_also_while_that_waits():
    interrupted = threading.Event()

    def items():
        yield "first"
        interrupted.wait()

    before = threading.active_count()
    with Ahead(items(), interrupted.set) as ahead:
        assert next(ahead) == "first"
    assert threading.active_count() == before
    assert list(Ahead(iter("ab"))) == ["a", "b"]


def test_two_threads_read_from_one_pool_of_processes_and_one_may_stop_early(tmp_path):
    features = FeatureSettings.model_validate(FEATURES)
    plan = plan_reading(str(write_shard_set(tmp_path, samples=32)), features, DataSettings(prefetch=1), 0, augment=True)
    pieces, device = [range(at, at + 8) for at in range(0, 96, 8)], torch.device("cpu")
    with Loader(plan, 8) as alone:
        expected = [batch.tensors["sound"].clone() for batch in alone.batches(pieces)]

    def read(loader):
        return Ahead(map(DeviceCopy(device), loader.batches(pieces)), loader.interrupt)

    with WorkerPool(2, 60) as pool, Loader(plan, 8, pool=pool) as one, Loader(plan, 8, pool=pool) as other:
        with read(one) as left:
            next(left)
        with read(one) as first, read(other) as second:
            for mine, its, right in zip(first, second, expected, strict=True):
                assert torch.equal(mine.tensors["sound"], right)
                assert torch.equal(its.tensors["sound"], right)
