"""Rows of all processes, with gradient."""

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F

from pipeline.tasks.gathered import gathered, planned_for

ROWS, WORLD = 6, 3


def contrast(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A loss that compares each row with all others, of all processes."""
    own = rows @ weight
    everyone, first = gathered(own)
    return F.cross_entropy(own @ everyone.T, torch.arange(first, first + len(own)))


def rows_and_weight() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(ROWS, 4, generator=generator, dtype=torch.float64)
    return made, torch.randn(4, 3, generator=generator, dtype=torch.float64).requires_grad_()


def one_of_several(rank: int, folder: str) -> None:
    sys.stdout = sys.stderr
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    rows, weight = rows_and_weight()
    loss = contrast(rows.chunk(WORLD)[rank], weight)
    loss.backward()
    both = torch.cat([loss.detach()[None], weight.grad.flatten()])
    dist.all_reduce(both)
    if rank == 0:
        torch.save(both / WORLD, f"{folder}/found.pt")
    dist.destroy_process_group()


def test_the_average_over_processes_is_the_gradient_over_all_rows(tmp_path: Path) -> None:
    multiprocessing.spawn(one_of_several, (str(tmp_path),), WORLD)
    rows, weight = rows_and_weight()
    loss = contrast(rows, weight)
    loss.backward()
    found = torch.load(tmp_path / "found.pt")
    assert found.tolist() == pytest.approx([loss.item(), *weight.grad.flatten().tolist()], abs=1e-12)


def test_one_process_and_the_meta_device_have_their_own_rows() -> None:
    own = torch.randn(2, 3)
    assert gathered(own)[0] is own
    assert gathered(torch.empty(2, 3, device="meta"))[1] == 0


def test_a_plan_counts_the_rows_of_all_its_processes() -> None:
    own = torch.empty(2, 3, device="meta", requires_grad=True)
    with planned_for(4):
        everyone, first = gathered(own)
        assert (everyone.is_meta, tuple(everyone.shape), first) == (True, (8, 3), 0)
        everyone.sum().backward()
    assert own.grad is not None
    assert gathered(own)[0] is own
