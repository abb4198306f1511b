"""Batches on a GPU. On a machine with one: python -m pytest -m cuda"""

import pytest
import torch

from pipeline.features.settings import FeatureSettings
from pipeline.stream.ahead import Ahead
from pipeline.stream.device_copy import DeviceCopy
from pipeline.stream.loader import Loader
from pipeline.stream.read_plan import plan_reading
from pipeline.stream.settings import DataSettings
from pipeline.stream.steps import steps_of
from tiny_shards import FEATURES, write_shard_set

pytestmark = pytest.mark.cuda


def test_batches_come_to_the_device_while_it_works_and_are_those_of_the_processor(tmp_path):
    folder = write_shard_set(tmp_path, samples=64)
    features = FeatureSettings.model_validate(FEATURES)
    plan = plan_reading(str(folder), features, DataSettings(workers=2, prefetch=2), 0, augment=True)
    device = torch.device("cuda", 0)
    work = torch.rand(2048, 2048, device=device)
    steps = [list(steps_of(plan, 0, 12, 16, 16)) for _ in range(2)]
    with (
        Loader(plan, 16, device) as there,
        Loader(plan, 16) as here,
        Ahead(map(DeviceCopy(device), there.batches(steps[0])), there.interrupt) as batches,
    ):
        for batch, expected in zip(batches, here.batches(steps[1]), strict=True):
            for _ in range(20):  # the copy of the next batch runs beside this
                work = (work @ work).clamp(0, 1)
            assert batch.tensors["frames"].is_cuda
            assert torch.equal(batch.tensors["frames"].cpu(), expected.tensors["frames"])
            assert torch.equal(batch.tensors["sound"].cpu(), expected.tensors["sound"])
            inputs, expected_inputs = batch.inputs(device), expected.inputs("cpu")
            assert torch.allclose(inputs["frames"].cpu(), expected_inputs["frames"], atol=1e-4)
            assert torch.allclose(inputs["sound"].cpu(), expected_inputs["sound"], atol=1e-6)
