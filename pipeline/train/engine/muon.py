"""Muon: matrices of hidden layers are stepped by their momentum made orthogonal (Jordan et al. 2024); all else as AdamW
does.

    M ← μ M + (1 − μ) G;  U = orthogonal(μ M + (1 − μ) G);  W ← (1 − ηλ) W − 0.2 η √max(rows, columns) U

The last factor gives a step of a matrix the size of AdamW's (Moonlight, Liu et al. 2025, Eq. 4), so that learning rate
and weight decay are AdamW's.

DeepSpeed has a Muon of its own, for ZeRO 1 to 3, which makes gradients orthogonal before they are clipped. Here
clipping sees gradients, the momentum is a number beside each number that is stepped, wherever ZeRO puts it, so that it
is saved, shared out and resumed as any other state is, and a matrix is put together only to be made orthogonal, by one
process.
"""

import inspect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from cluster.process_group import ProcessGroup

ADAM_STATES = ("exp_avg", "exp_avg_sq")
MOMENTUM = "momentum_buffer"
IS_MUON = "muon"
"""Key of a group of parameters: whether its matrices are made orthogonal."""
_LEAST_CHANNELS = 16
_FUSED = {"query_key_value": 3, "key_value": 2}
"""Layers that are several matrices, one below the other."""
_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_SIZE = 0.2
"""Root mean square of AdamW's steps, over the learning rate."""
_adamw_step: Any = inspect.unwrap(torch.optim.AdamW.step)
"""Without hooks, which are called for Muon's whole step."""


def matrices_of(name: str, parameter: Tensor) -> tuple[int, int, int] | None:
    """Number, rows and columns of the matrices in a parameter that decays, a kernel's columns being all that one output
    sees; None for what is stepped as AdamW does: layers that see fewer than 16 channels, as the first of an image or a
    spectrogram, or give fewer, as heads."""
    shape = parameter.shape
    if min(shape[:2]) < _LEAST_CHANNELS:
        return None
    count = _FUSED.get(name.split(".")[-2], 1) if "." in name else 1
    return count, shape[0] // count, prod(shape[1:])


@torch.no_grad()
def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices [..., R, C] with all singular values brought near 1 (0.7 to 1.2), by five Newton-Schulz iterations of
    the fifth order, whose coefficients are Jordan's."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    found: Tensor = matrices.mT if tall else matrices
    found = found / found.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    first, third, fifth = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = found @ found.mT
        found = first * found + (third * gram + fifth * gram @ gram) @ found
    return found.mT if tall else found


@dataclass(frozen=True)
class _Piece:
    """Numbers of a parameter that this process steps: from number `start` of it on, and from number `begin` of the
    tensor that is stepped."""

    start: int
    begin: int
    size: int

    def of(self, whole: Tensor) -> Tensor:
        """Its numbers in a tensor that is laid out like the one that is stepped."""
        return whole.view(-1).narrow(0, self.begin, self.size)


@dataclass(frozen=True)
class _Parameter:
    """One or several matrices of the same shape, and how many of their numbers each process steps: stretches that
    follow each other in the order of processes."""

    matrices: tuple[int, int, int]
    sizes: tuple[int, ...]
    piece: _Piece

    @property
    def is_shared_out(self) -> bool:
        return max(self.sizes) < prod(self.matrices)


class Muon(torch.optim.AdamW):
    """torch's AdamW, but for groups of parameters with `muon`. `lay_out` must be called before the first step.

    Attributes:
        matrices: number, rows and columns of the matrices of those parameters, in the same order on all processes.
    """

    matrices: Mapping[torch.nn.Parameter, tuple[int, int, int]]
    _laid_out: Mapping[int, Sequence[_Parameter]]
    _group: ProcessGroup

    def __init__(self, groups: Iterable[dict[str, Any]], *, momentum: float, **options: Any) -> None:
        """
        Args:
            momentum: of matrices.
            options: of AdamW.
        """
        super().__init__(groups, **options)
        for group in self.param_groups:
            group["momentum"] = momentum

    def lay_out(self, held: Iterable[Any], masters: Sequence[Tensor], group: ProcessGroup) -> None:
        """Note where matrices lie; every process calls it.

        Args:
            held: what this process holds of each parameter, as of `fragments.held`.
            masters: what is stepped, in the same order on all processes.
        """
        places = {id(master): place for place, master in enumerate(masters)}
        numbers = {parameter: number for number, parameter in enumerate(self.matrices)}
        mine = {
            (places[id(one.master)], numbers[one.parameter]): _Piece(one.start, one.begin, one.size)
            for one in held
            if one.parameter in numbers
        }
        sizes: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0] * group.world_size)
        for rank, theirs in enumerate(group.gather_objects([(*key, piece.size) for key, piece in mine.items()])):
            for place, number, size in theirs:
                sizes[place, number][rank] = size
        shapes, nothing = list(self.matrices.values()), _Piece(0, 0, 0)
        found: dict[int, list[_Parameter]] = defaultdict(list)
        for key, of_ranks in sorted(sizes.items()):
            one = _Parameter(shapes[key[1]], tuple(of_ranks), mine.get(key, nothing))
            found[id(masters[key[0]])].append(one)
        self._group, self._laid_out = group, dict(found)

    def is_laid_out(self, master: Tensor) -> bool:
        """Whether what is stepped are matrices."""
        return id(master) in self._laid_out

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch's returns the closure's loss
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group[IS_MUON]]
        _adamw_step(self)
        self.param_groups = groups
        for group in groups:
            for master in group["params"] if group[IS_MUON] else ():
                if master.grad is not None:
                    self._step_matrices(master, master.grad, group)

    def _step_matrices(self, master: Tensor, gradient: Tensor, group: Mapping[str, Any]) -> None:
        state, rate, mu = self.state[master], group["lr"], group["momentum"]
        if MOMENTUM not in state:
            state[MOMENTUM] = torch.zeros_like(master)
        momentum = state[MOMENTUM]
        momentum.lerp_(gradient, 1 - mu)
        master.mul_(1 - rate * group["weight_decay"])

        def direction(one: _Parameter) -> Tensor:
            found = one.piece.of(gradient).lerp(one.piece.of(momentum), mu)
            return found.to(self._group.device, torch.bfloat16 if self._group.device.type == "cuda" else None)

        def move(one: _Parameter, update: Tensor) -> None:
            one.piece.of(master).add_(update.to(master), alpha=-rate * _SIZE * max(one.matrices[1:]) ** 0.5)

        parameters = self._laid_out[id(master)]
        for one in parameters:
            if one.piece.size == prod(one.matrices):
                move(one, orthogonal(direction(one).view(one.matrices)).reshape(-1))
        shared, at_once = [one for one in parameters if one.is_shared_out], self._group.world_size
        for first in range(0, len(shared), at_once):
            some = shared[first : first + at_once]
            for one, update in zip(some, self._orthogonal_of_all(some, [direction(one) for one in some]), strict=True):
                move(one, update)

    def _orthogonal_of_all(self, parameters: Sequence[_Parameter], pieces: Sequence[Tensor]) -> Sequence[Tensor]:
        """Pieces of at most as many parameters as there are processes, as they are once the whole is orthogonal: the
        n-th process puts the n-th parameter together."""
        rank, here = self._group.rank, pieces[0]
        own = parameters[rank] if rank < len(parameters) else None
        sent = [piece.numel() for piece in pieces] + [0] * (self._group.world_size - len(pieces))
        came = list(own.sizes) if own else [0] * self._group.world_size
        whole = here.new_empty(sum(came))
        dist.all_to_all_single(whole, torch.cat(list(pieces)), came, sent)
        if own:
            whole = orthogonal(whole.view(own.matrices)).reshape(-1)
        back = here.new_empty(sum(sent))
        dist.all_to_all_single(back, whole, sent, came)
        return torch.split(back, sent[: len(pieces)])
