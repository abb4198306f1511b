"""What labels can be told from vectors, by the two simplest learners: logistic regression and nearest neighbours."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Scores = npt.NDArray[np.float64]
"""[N, C] how sure somebody is of each class."""
Marks = npt.NDArray[np.bool_]
"""[N, C] which classes are there."""
_STEPS, _KEPT, _FLAT = 200, 20, 1e-8
_AT_ONCE = 1024


@dataclass(frozen=True)
class LinearProbe:
    """Logistic regression on features [N, D], each less its mean over its deviation among those that were learnt from;
    what is the same for all of them is left out.

    Attributes:
        weights, bias: [D, C], [C].
    """

    mean: Tensor
    scale: Tensor
    weights: Tensor
    bias: Tensor

    def scores(self, features: Tensor) -> Scores:
        """Logits."""
        known = (features.double() - self.mean) * self.scale
        return np.asarray((known @ self.weights + self.bias).cpu().numpy())


def linear_probes(features: Tensor, there: Marks, one: bool, decays: Sequence[float]) -> Iterator[LinearProbe]:
    """The minimum of mean cross entropy + decay / 2 · ‖W‖², by L-BFGS from the one before, for each decay: where no
    slope is steeper than 1e-8, it falls no more, or 200 iterations are over. Biases are free. With `one` label a sample
    the cross entropy is that of a softmax, else the sum of those of each class."""
    features, truth = features.double(), torch.from_numpy(there).to(features.device).double()
    mean, deviation = features.mean(0), features.std(0, correction=0)
    scale = torch.where(deviation > 1e-6 * (1 + mean.abs()), 1 / deviation, 0.0)
    known = (features - mean) * scale
    weights = torch.zeros(known.shape[1], truth.shape[1], dtype=torch.float64, device=known.device, requires_grad=True)
    bias = torch.zeros_like(weights[0], requires_grad=True)
    for decay in decays:

        def loss(decay: float = decay) -> Tensor:
            logits = known @ weights + bias
            if one:
                found = -(truth * logits.log_softmax(1)).sum(1).mean()
            else:
                found = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1).mean()
            return found + decay / 2 * weights.square().sum()

        _minimise(loss, [weights, bias])
        yield LinearProbe(mean, scale, weights.detach().clone(), bias.detach().clone())


def _minimise(loss: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    """Go down to where the loss is flat."""
    optimizer = torch.optim.LBFGS(
        parameters,
        max_iter=_STEPS,
        history_size=_KEPT,
        tolerance_grad=_FLAT,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def slope() -> Tensor:
        optimizer.zero_grad()
        found = loss()
        found.backward()  # type: ignore[no-untyped-call]  # torch's is untyped
        return found

    optimizer.step(slope)  # type: ignore[no-untyped-call]


def nearest_neighbours(
    learnt: Tensor, there: Marks, features: Tensor, neighbours: int, temperature: float = 0.07
) -> Scores:
    """The share of each class among the nearest by cosine, each weighted by exp(cosine / temperature) (Wu et al. 2018,
    as DINO has it). Those that are as near as the last one share its place, so that who finds all alike says how common
    each class is. Of features that are no numbers nothing is told: NaN."""
    count = min(neighbours, len(learnt))
    keys, queries = (F.normalize(one.double(), dim=1) for one in (learnt, features))
    truth = torch.from_numpy(there).to(keys.device).double()
    found = []
    for some in torch.split(queries, _AT_ONCE):
        alike = (some @ keys.T).round(decimals=9)
        last = alike.topk(count, dim=1).values[:, -1:]
        nearer, level = alike > last, alike == last
        share = (count - nearer.sum(1, keepdim=True)) / level.sum(1, keepdim=True)
        votes = ((alike - 1) / temperature).exp() * (nearer + level * share)
        found.append((votes @ truth) / votes.sum(1, keepdim=True))
    return np.asarray(torch.cat(found).cpu().numpy())


def surest_right(scores: Scores, there: Marks) -> npt.NDArray[np.float64]:
    """[N] 1 where the surest class is there; classes that are equally sure share it. 0 of what is no number."""
    known = np.isfinite(scores).all(1, keepdims=True)
    ranked = np.where(known, scores, 0.0)
    surest = np.asarray(ranked == ranked.max(1, keepdims=True))
    return np.asarray((surest & there & known).sum(1) / surest.sum(1))
