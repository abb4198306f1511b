"""Orthogonal steps, and which parameters are stepped by them."""

import pytest
import torch
from torch import nn

from pipeline.train.engine.muon import orthogonal
from pipeline.train.engine.optimizer import hidden_matrices


@pytest.mark.parametrize("shape", [(24, 24), (16, 80), (80, 16), (3, 20, 40)])
def test_singular_values_come_near_one_and_their_vectors_stay(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonal(matrices)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    middle = left.mT @ found @ right.mT
    values = middle.diagonal(dim1=-2, dim2=-1)
    assert 0.5 < values.min() <= values.max() < 1.25
    assert (middle - torch.diag_embed(values)).abs().max() < 1e-3
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


def test_steps_are_those_of_torchs_muon():
    theirs = nn.Parameter(torch.zeros(32, 48))
    torchs = torch.optim.Muon([theirs], 1.0, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    theirs.grad = torch.randn(32, 48, generator=torch.Generator().manual_seed(0))
    torchs.step()
    expected = -orthogonal(theirs.grad) * 0.2 * 48**0.5
    assert (theirs - expected).norm() < 0.02 * expected.norm()  # torch's has 8 bits


def test_what_sees_or_gives_few_channels_and_what_is_no_matrix_is_left_to_adamw():
    model = nn.ModuleDict(
        {
            "pixels": nn.Conv2d(3, 64, 16),
            "hidden": nn.Conv2d(64, 32, 3),
            "query_key_value": nn.Linear(32, 96),
            "table": nn.Embedding(40, 32),
            "norm": nn.LayerNorm(32),
            "head": nn.Linear(32, 2),
        }
    )
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {names[parameter]: matrices for parameter, matrices in hidden_matrices(model).items()}
    assert found == {"hidden.weight": (1, 32, 576), "query_key_value.weight": (3, 32, 32)}
