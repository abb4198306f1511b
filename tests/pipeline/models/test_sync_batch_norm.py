"""Batch norm over two processes against batch norm over the whole batch in one."""

import os
import sys
from pathlib import Path

import pytest
import ranks_of_norms
import torch
from ranks_of_norms import KINDS, two_passes, two_steps
from tiny_gavt import EMBEDDERS, tiny

from cluster.launch import launch_local
from pipeline.models.norms import BatchNorm2d
from pipeline.models.norms.sync_batch import SyncBatchNorm2d

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes has found."""
    out = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (TESTS.parent, TESTS))))
        assert launch_local([sys.executable, ranks_of_norms.__file__, str(out)], 2) == 0
    return [torch.load(out / f"rank-{rank}.pt", map_location="cpu") for rank in range(2)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_two_processes_normalise_as_one_with_the_whole_batch(ranks, device, kind):
    found = [rank["norms"][device, kind] for rank in ranks]
    expected = two_passes(BatchNorm2d(5), slice(0, 7), device, kind)
    rounding = 2.0**-8 if kind == "bfloat16" else 1e-5
    for name in ("output 0", "output 1", "gradient 0", "gradient 1"):
        got = torch.cat([one[name] for one in found])
        assert got.dtype == expected[name].dtype
        assert torch.allclose(got.float(), expected[name].cpu().float(), rtol=2 * rounding, atol=2 * rounding), name
        assert all(one[name].is_contiguous(memory_format=KINDS[kind][1]) for one in found)
    for name in ("weight", "bias"):
        assert torch.allclose(found[0][name] + found[1][name], expected[name].cpu(), rtol=4 * rounding, atol=0.01), name
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(found[0][name], found[1][name]), name
        # in float32, whatever the image is in
        assert torch.allclose(found[0][name], expected[name].cpu(), rtol=1e-5, atol=1e-6), name


def test_two_processes_train_as_one_with_the_whole_batch(ranks):
    losses, weights = two_steps("batch", "resnet18", "none", torch.float32, slice(0, 8))
    (ours, our_weights), (theirs, their_weights) = (rank["steps"]["resnet18", "none", torch.float32] for rank in ranks)
    assert ours == theirs
    assert ours == pytest.approx(losses, rel=1e-5)
    assert losses[0] != losses[1]
    assert all(torch.equal(their_weights[name], weight) for name, weight in our_weights.items())
    assert all(torch.allclose(our_weights[name], weight, atol=1e-4) for name, weight in weights.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recomputation_gives_the_same_to_the_bit(ranks, dtype):
    for rank in ranks:
        steps = [rank["steps"]["convolution", mode, dtype] for mode in ("full", "none")]
        (losses, weights), (expected_losses, expected) = steps
        assert losses == expected_losses
        assert [name for name in expected if not torch.equal(weights[name], expected[name])] == []


def test_a_process_waits_for_no_other_in_evaluation_and_where_nothing_is_computed(ranks):
    assert all(rank["alone"] for rank in ranks)


def test_a_number_that_is_not_finite_reaches_all_processes_and_can_be_left_out_by_all(ranks):
    outputs, buffers = zip(*(rank["bad"] for rank in ranks), strict=True)
    assert all(output.isnan().all() for output in outputs)
    assert all(torch.equal(buffers[1][name], buffer) for name, buffer in buffers[0].items())
    assert buffers[0]["0.running_mean"].isfinite().all()
    assert int(buffers[0]["0.num_batches_tracked"]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_one_process_does_what_batch_norm_does_to_the_bit(kind):
    found, expected = (two_passes(norm(5), slice(0, 7), "cpu", kind) for norm in (SyncBatchNorm2d, BatchNorm2d))
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_weights_of_batch_norm_load_into_it():
    models = [
        tiny(seed, visual_embedder=EMBEDDERS["convolution"] | {"norm": norm})
        for seed, norm in enumerate(("batch", "sync_batch"))
    ]
    models[1].load_state_dict(models[0].state_dict())
    norms = [module for module in models[1].modules() if isinstance(module, SyncBatchNorm2d)]
    assert norms
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(*(model.visual_embedder(image) for model in models))
