"""Means and resampling whose backward passes repeat to the bit on a GPU."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from called_operations import UNREPEATABLE, CalledOperations
from pipeline.models.repeatable import AverageOfFrames, mean_of_parts, resampled


@pytest.mark.parametrize(
    ("own", "torchs", "shape"),
    [
        (lambda values: mean_of_parts(values, 3), lambda values: F.adaptive_avg_pool1d(values, 3), (2, 4, 7)),
        (lambda values: resampled(values, 5), lambda values: F.interpolate(values, 5, mode="linear"), (2, 4, 3)),
        (
            AverageOfFrames((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            nn.AvgPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            (2, 3, 4, 6, 5),
        ),
    ],
)
def test_they_are_torchs_and_none_of_its_operations_that_can_not_be_repeated(own, torchs, shape):
    values, same = (torch.rand(shape, generator=torch.Generator().manual_seed(0)).requires_grad_() for _ in range(2))
    with CalledOperations() as called:
        found = own(values)
        found.square().sum().backward()
    with CalledOperations() as of_torch:
        torchs(same).square().sum().backward()
    torch.testing.assert_close(found, torchs(same))
    torch.testing.assert_close(values.grad, same.grad)
    assert not called.names & UNREPEATABLE
    assert of_torch.names & UNREPEATABLE
