import copy

import pytest
import torch
from tiny_gavt import EMBEDDERS, inputs, tiny
from torch.utils.checkpoint import CheckpointError

from chosen_pairs import aligned, targets_of
from pipeline.models.blocks import blocks
from pipeline.models.norms import BatchNorm2d
from pipeline.models.recompute import Stages, set_checkpointing

TARGETS = targets_of([0, 1, 2, 3, 0], [0, 1, 2, 3, 1], [1, 1, 1, 1, 0])


def two_steps(system, dtype=torch.float32):
    """Losses of two steps of plain descent, and everything that they left behind."""
    system = copy.deepcopy(system).to(dtype).train()
    losses = []
    for step in range(2):
        torch.manual_seed(step)
        loss, _ = system(inputs(4, frames=2), TARGETS)
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for parameter in system.parameters():
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
    return losses, system.state_dict()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("convolution", {}), ("resnet18", {}), ("vit", {"drop_path": 0.5})],
)
def test_recomputation_gives_the_same_to_the_bit(kind, changes):
    """Losses, weights and running averages, with batch norm, dropout and stochastic depth."""
    embedder = EMBEDDERS[kind] | changes
    model = tiny(visual_embedder=embedder, audio_embedder=embedder, frames=2, dropout=0.2, drop_path=0.5, registers=1)
    system = aligned(model)
    expected_losses, expected = two_steps(system)
    assert expected_losses[0] != expected_losses[1]
    for mode in ("full", 2):
        set_checkpointing(system, mode)
        losses, state = two_steps(system)
        assert losses == expected_losses
        differing = [name for name in expected if not torch.equal(state[name], expected[name])]
        assert differing == []


def test_recomputation_gives_the_same_in_bf16():
    system = aligned(tiny(frames=2, dropout=0.2))
    expected_losses, expected = two_steps(system, torch.bfloat16)
    set_checkpointing(system, "full")
    losses, state = two_steps(system, torch.bfloat16)
    assert losses == expected_losses
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    averages = [module for module in system.modules() if isinstance(module, BatchNorm2d)]
    assert averages


def test_stochastic_depth_of_a_convnext_is_drawn_the_same_again():
    embedder = tiny(visual_embedder=EMBEDDERS["convnext"] | {"drop_path": 0.9}).visual_embedder
    stages = Stages(list(embedder.features)[:12]).train()
    image, gradients = torch.rand(4, 3, 32, 32), []
    for mode in ("none", "full"):
        set_checkpointing(stages, mode)
        torch.manual_seed(0)
        gradients.append(torch.autograd.grad(stages(image).sum(), list(stages.parameters())))
    assert all(torch.equal(kept, again) for kept, again in zip(*gradients, strict=True))


def test_the_blocks_that_were_chosen_are_recomputed_and_no_others():
    system = aligned(tiny(dropout=0.0))
    runs = {}
    seen = []
    for index, block in enumerate(blocks(system)):
        block.register_forward_pre_hook(lambda *_, index=index: seen.append(index))
    for mode in ("none", "full", 3):
        set_checkpointing(system, mode)
        seen.clear()
        system.train()(inputs(4), TARGETS)[0].backward()
        runs[mode] = [seen.count(index) for index in range(len(blocks(system)))]
    assert runs["none"] == [1] * 8
    assert runs["full"] == [2] * 8
    assert runs[3] == [2, 1, 1, 2, 1, 1, 2, 1]


def test_nothing_is_recomputed_in_evaluation():
    system = aligned(tiny()).eval()
    set_checkpointing(system, "full")
    runs = []
    blocks(system)[0].register_forward_pre_hook(lambda *_: runs.append(1))
    system(inputs(4), TARGETS)[0].backward()
    assert len(runs) == 1


def test_an_error_in_a_block_is_raised_in_the_backward_pass_too():
    system = aligned(tiny(dropout=0.0)).train()
    set_checkpointing(system, "full")
    loss, _ = system(inputs(4), TARGETS)
    block = blocks(system)[-1]
    block.forward = lambda tokens, keep=False: (tokens * 2, None)  # another computation than before
    with pytest.raises(CheckpointError):
        loss.backward()
