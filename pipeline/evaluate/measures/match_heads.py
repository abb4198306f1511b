"""Small networks that say how well samples of streams go together, trained on frozen vectors (TriBERT, section 4.2)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.evaluate.embeddings import Known, Vectors
from pipeline.evaluate.measures.likeness import of_one_scene
from pipeline.evaluate.registry import RetrievalHeadSettings

_CHECKS = 10
"""How often in a training the held out pairs are looked at."""
_HELD_OUT = 7
"""Distractors then."""
_NUMBERS_AT_ONCE = 2**24
"""Of the products of who looks and what is looked for, when all are scored."""
_TARGETS_AT_ONCE = 512


@dataclass(frozen=True)
class Pairs:
    """Samples of one or two streams, and what each looks for.

    Attributes:
        queries: float32 [N, D] of each stream that looks.
        targets: float32 [N, D]; the n-th belongs to the n-th query.
        scenes: int64 [N, 3] of the targets, see `scene_numbers`.
    """

    queries: tuple[Tensor, ...]
    targets: Tensor
    scenes: Tensor

    @classmethod
    def of(cls, queries: Sequence[Vectors], targets: Vectors, known: Known, device: torch.device) -> "Pairs":
        """Without those of which a vector has something in it that is no number."""
        vectors = [torch.from_numpy(one).to(device) for one in (*queries, targets)]
        finite = torch.stack([one.isfinite().all(1) for one in vectors]).all(0)
        *kept, last = (one[finite] for one in vectors)
        return cls(tuple(kept), last, torch.from_numpy(known.scenes).to(device)[finite])

    def __len__(self) -> int:
        return len(self.targets)

    def shuffled(self) -> "Pairs":
        """Each beside another's: half of all further on, in a circle."""
        turn = len(self) // 2
        return replace(self, targets=self.targets.roll(turn, 0), scenes=self.scenes.roll(turn, 0))


class MatchHeads(nn.Module):
    """Networks of one form side by side, S of them, each with weights of its own, drawn by its seed.

    Each stream, less its mean over its deviation, goes through a linear layer to one width. Where two streams look
    together, v and a, they become x = softmax(a · v) · v + a and then f(x) + x with a network f of three layers. The
    product of who looks and what is looked for goes through layers with tanh between them, each half as wide as the one
    before, to one logit.
    """

    def __init__(self, learnt_from: Pairs, width: int, seeds: Sequence[int]) -> None:
        """
        Args:
            learnt_from: says the widths of the streams, their means and deviations.
        """
        super().__init__()
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.looking = nn.ModuleList(_side(stream, width, generators) for stream in learnt_from.queries)
        self.together = _layers([width] * 4, generators) if len(learnt_from.queries) > 1 else None
        self.looked_for = _side(learnt_from.targets, width, generators)
        self.align = _layers([width, *(max(width // part, 1) for part in (2, 4, 8)), 1], generators)
        self.to(learnt_from.targets.device)

    def who_looks(self, queries: Sequence[Tensor]) -> Tensor:
        """Of each stream [S, B, D] or [B, D] → [S, B, W]."""
        streams = [side(stream) for side, stream in zip(self.looking, queries, strict=True)]
        found: Tensor = streams[0]
        if self.together is not None:
            seen, heard = streams
            mixed = (heard * seen).softmax(-1) * seen + heard
            found = self.together(mixed) + mixed
        return found

    def forward(self, who_looks: Tensor, looked_for: Tensor) -> Tensor:
        """Logits [S, B, K] of queries [S, B, W] beside K each, [S, B, K, W]."""
        products = who_looks[:, :, None] * looked_for
        logits: Tensor = self.align(products.flatten(1, 2))
        return logits.view(products.shape[:3])

    def only(self, number: int) -> "MatchHeads":
        """The network of one seed alone."""
        one = copy.deepcopy(self)
        for parameter in one.parameters():
            parameter.data = parameter.data[number : number + 1].clone()
        return one


class Matched:
    """How well samples go together by one network, as `pipeline.evaluate.measures.likeness` ranks them."""

    @torch.no_grad()
    def __init__(self, heads: MatchHeads, queries: Sequence[Vectors], targets: Vectors) -> None:
        """
        Args:
            heads: of one seed.
            queries, targets: [N, D] of the same samples.
        """
        device = next(heads.parameters()).device
        *looking, looked_for = (torch.from_numpy(one).to(device) for one in (*queries, targets))
        self._align = heads.align
        self._who_looks, self._looked_for = heads.who_looks(looking)[0], heads.looked_for(looked_for)[0]

    def compares(self, query: str, gallery: str) -> bool:
        """What it was trained for."""
        return True

    @torch.no_grad()
    def alike(self, query: str, gallery: str, rows: slice) -> Tensor:
        """[b, N] logits."""
        at_once = max(_NUMBERS_AT_ONCE // self._looked_for.numel(), 1)
        parts = torch.split(self._who_looks[rows], at_once)
        return torch.cat([self._align(some[:, None] * self._looked_for)[..., 0] for some in parts])


def train_heads(pairs: Pairs, held_out: Pairs | None, settings: RetrievalHeadSettings) -> tuple[MatchHeads, float]:
    """Learn to choose each query's own among distractors, by the cross entropy over them and Adam.

    What a seed gives hangs on the seed alone, not on how many are trained beside it. Distractors of the own scene are
    left out.

    Args:
        held_out: says when each network was best, ten times in the training; else it is taken as it is in the end.

    Returns:
        networks of all seeds, and their mean cross entropy on what was held out; in the last step where nothing was.
    """
    seeds = range(settings.seeds)
    width = settings.width or max(stream.shape[1] for stream in (*pairs.queries, pairs.targets))
    heads = MatchHeads(pairs, width, seeds)
    optimizer = torch.optim.Adam(heads.parameters(), settings.learning_rate)
    draws = _Draws(pairs, settings.near, [torch.Generator().manual_seed(seed) for seed in seeds])
    distractors = settings.distractors + len(pairs.queries) - 1
    best, losses = copy.deepcopy(heads), torch.full((settings.seeds,), torch.inf)
    for step in range(1, settings.steps + 1):
        loss = _losses(heads, pairs, *draws.next(settings.batch_size, distractors))
        optimizer.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]  # torch's is untyped
        optimizer.step()
        if step % max(settings.steps // _CHECKS, 1) == 0 or step == settings.steps:
            found = loss.detach().cpu() if held_out is None else _held_out_losses(heads, held_out, len(seeds))
            better = torch.ones_like(found, dtype=torch.bool) if held_out is None else found < losses
            losses = torch.where(better, found, losses)
            for kept, now in zip(best.parameters(), heads.parameters(), strict=True):
                kept.data[better] = now.data[better]
    return best, float(losses.mean())


class _Draws:
    """Draws queries and distractors, of each network by its own generator."""

    def __init__(self, pairs: Pairs, near: int | None, generators: Sequence[torch.Generator]) -> None:
        self._count, self._generators, self._device = len(pairs), generators, pairs.targets.device
        self._near = None if near is None else _nearest(pairs, min(near, len(pairs)))

    def next(self, batch: int, distractors: int) -> tuple[Tensor, Tensor]:
        """Rows [S, B] of queries, and [S, B, K] of what is offered beside their own."""
        rows = self._drawn(self._count, (batch,))
        if self._near is None:
            return rows, self._drawn(self._count, (batch, distractors))
        return rows, self._near[rows].gather(2, self._drawn(self._near.shape[1], (batch, distractors)))

    def _drawn(self, count: int, shape: tuple[int, ...]) -> Tensor:
        return torch.stack([torch.randint(count, shape, generator=one) for one in self._generators]).to(self._device)


def _losses(heads: MatchHeads, pairs: Pairs, rows: Tensor, others: Tensor) -> Tensor:
    """[S] cross entropy of choosing the own one of these rows [S, B] among itself and others [S, B, K]."""
    offered = torch.cat([rows[..., None], others], 2)
    looked_for = heads.looked_for(pairs.targets[offered.flatten(1)]).unflatten(1, offered.shape[1:])
    logits: Tensor = heads(heads.who_looks([stream[rows] for stream in pairs.queries]), looked_for)
    own_scene = of_one_scene(pairs.scenes[rows][:, :, None], pairs.scenes[others])
    logits = logits.masked_fill(F.pad(own_scene, (1, 0)), -torch.inf)
    return -logits.log_softmax(2)[..., 0].mean(1)


@torch.no_grad()
def _held_out_losses(heads: MatchHeads, pairs: Pairs, count: int) -> Tensor:
    """[S] with the same distractors each time, for all networks."""
    others = torch.randint(len(pairs), (len(pairs), _HELD_OUT), generator=torch.Generator().manual_seed(0))
    rows = torch.arange(len(pairs))
    rows, others = (one.to(pairs.targets.device).expand(count, *one.shape) for one in (rows, others))
    return _losses(heads, pairs, rows, others).cpu()


def _nearest(pairs: Pairs, count: int) -> Tensor:
    """[N, count] by cosine the targets nearest to each, of other scenes."""
    directions, found = F.normalize(pairs.targets), []
    for some in torch.split(torch.arange(len(pairs), device=directions.device), _TARGETS_AT_ONCE):
        alike = directions[some] @ directions.T
        own_scene = of_one_scene(pairs.scenes[some, None], pairs.scenes)
        found.append(alike.masked_fill(own_scene, -torch.inf).topk(count, dim=1).indices)
    return torch.cat(found)


class _Linear(nn.Module):
    """Linear layers side by side, each drawn as `nn.Linear` draws its own."""

    def __init__(self, inputs: int, outputs: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        drawn = torch.stack([torch.rand(inputs + 1, outputs, generator=one) for one in generators])
        drawn = (drawn * 2 - 1) * inputs**-0.5
        self.weight, self.bias = nn.Parameter(drawn[:, :-1].clone()), nn.Parameter(drawn[:, -1:].clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """[S, B, in] or [B, in] → [S, B, out]"""
        outputs: Tensor = inputs @ self.weight + self.bias
        return outputs


class _Normalised(nn.Module):
    """Less the mean over the deviation; what is the same for all is nought."""

    def __init__(self, learnt_from: Tensor) -> None:
        super().__init__()
        mean, deviation = learnt_from.mean(0), learnt_from.std(0, correction=0)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", torch.where(deviation > 1e-6 * mean.abs(), 1 / deviation, 0.0))

    mean: Tensor
    scale: Tensor

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = (inputs - self.mean) * self.scale
        return outputs


def _side(learnt_from: Tensor, width: int, generators: Sequence[torch.Generator]) -> nn.Sequential:
    return nn.Sequential(_Normalised(learnt_from), _Linear(learnt_from.shape[1], width, generators))


def _layers(widths: Sequence[int], generators: Sequence[torch.Generator]) -> nn.Sequential:
    """With tanh between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Tanh(), _Linear(inputs, outputs, generators)]
    return nn.Sequential(*layers[1:])
