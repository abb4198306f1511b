"""What looks at what in a model, worked out as far as somebody asks.

The weights of N tokens in a layer of H heads are H·N² numbers, of which hardly anybody wants more than means. So a
model hands out what they come from, and they are made here, a few rows at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Layers = bool | Collection[int]
"""Of which layers attention is wanted: of none, of all, or of these, counted from 0."""
_NUMBERS_AT_ONCE = 1 << 21
"""Weights that are there at once, about: 8 MiB of float32."""


def is_wanted(layer: int, layers: Layers) -> bool:
    """Whether attention of a layer is wanted."""
    return layers if isinstance(layers, bool) else layer in layers


def attention_weights(query: Tensor, key: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention [B, heads, Nq, Nk] of queries and keys [B, heads, N, D], with a bias [heads, Nq, Nk] added to its
    logits."""
    scores: Tensor = (query * key.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    return (scores if bias is None else scores + bias).softmax(-1)


class Weights(ABC):
    """Where the weights [B, heads, Nq, Nk] of a layer come from; rows are queries, and each adds up to 1."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int, int]:
        """(B, heads, Nq, Nk)"""

    @property
    @abstractmethod
    def watched(self) -> Tensor:
        """What a gradient is asked of, for the gradient of the weights to be known."""

    @abstractmethod
    def rows(self, queries: slice, heads: slice) -> Tensor:
        """[B, some heads, some queries, Nk]"""

    @abstractmethod
    def slopes(self, queries: slice, gradient: Tensor) -> Tensor:
        """The gradient [B, heads, some queries, Nk] of the weights, made of that of what is watched."""


@dataclass(frozen=True)
class DotProducts(Weights):
    """softmax(q·k / √d + bias).

    Attributes:
        query: [B, heads, Nq, d].
        key, value: [B, heads, Nk, d].
        mixed: [B, heads, Nq, d], means of the values by the weights, as they went on through the model.
        bias: [heads, Nq, Nk].
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mixed: Tensor
    bias: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        batch, heads, queries, _ = self.query.shape
        return batch, heads, queries, self.key.shape[2]

    @property
    def watched(self) -> Tensor:
        """A weight reaches the answer through the mean that it has a part in, and in no other way."""
        return self.mixed

    def rows(self, queries: slice, heads: slice) -> Tensor:
        bias = None if self.bias is None else self.bias[heads, queries]
        return attention_weights(self.query[:, heads, queries], self.key[:, heads], bias)

    def slopes(self, queries: slice, gradient: Tensor) -> Tensor:
        return gradient[:, :, queries] @ self.value.transpose(-2, -1)


@dataclass(frozen=True)
class Stored(Weights):
    """Weights [B, heads, Nq, Nk] that a model has anyway, because it makes them in a way of its own."""

    weights: Tensor

    @property
    def shape(self) -> tuple[int, int, int, int]:
        batch, heads, queries, keys = self.weights.shape
        return batch, heads, queries, keys

    @property
    def watched(self) -> Tensor:
        return self.weights

    def rows(self, queries: slice, heads: slice) -> Tensor:
        return self.weights[:, heads, queries]

    def slopes(self, queries: slice, gradient: Tensor) -> Tensor:
        return gradient[:, :, queries]


class AttentionMap:
    """The weights [B, heads, Nq, Nk] with which some tokens look at others in one layer.

    What is read out of it is a mean over heads, or of one of them, and has no gradient.
    """

    def __init__(self, weights: Weights, queries: slice = slice(None), keys: slice = slice(None)) -> None:
        """Of some queries and keys; all keys still share each row's sum of 1."""
        self.weights = weights
        self._queries, self._keys = range(weights.shape[2])[queries], range(weights.shape[3])[keys]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, heads, Nq, Nk)"""
        batch, heads, _, _ = self.weights.shape
        return batch, heads, len(self._queries), len(self._keys)

    def part(self, queries: slice, keys: slice) -> "AttentionMap":
        """Those of some of its queries to some of its keys."""
        return AttentionMap(self.weights, _slice(self._queries[queries]), _slice(self._keys[keys]))

    @torch.no_grad()
    def whole(self) -> Tensor:
        """All of it at once, [B, heads, Nq, Nk]."""
        return self.weights.rows(_slice(self._queries), slice(None))[..., _slice(self._keys)]

    @torch.no_grad()
    def to_keys(self, values: Tensor | None = None, head: int | None = None) -> Tensor:
        """How much each key is looked at, [B, Nk]: of each query its weights times its number in `values` [B, Nq],
        added up; the mean over queries unless those are given."""
        batch, _, queries, keys = self.shape
        found = self.weights.watched.new_zeros(batch, keys)
        for places, rows in self._pieces(head):
            found += rows.sum(1) / queries if values is None else (values[:, None, places] @ rows)[:, 0]
        return found

    @torch.no_grad()
    def to_queries(self, values: Tensor | None = None, head: int | None = None) -> Tensor:
        """What each query looks at, [B, Nq]: its weights times the number of each key in `values` [B, Nk], added up;
        the mean over keys unless those are given."""
        pieces = (rows for _, rows in self._pieces(head))
        return torch.cat([rows.mean(2) if values is None else (rows @ values[..., None])[..., 0] for rows in pieces], 1)

    @torch.no_grad()
    def relevance_to_keys(self, values: Tensor, gradient: Tensor) -> Tensor:
        """As `to_keys`, with weights times their gradient, where that is positive, in place of weights.

        Args:
            gradient: of an answer, of what the weights watch.
        """
        batch, _, _, keys = self.shape
        found = values.new_zeros(batch, keys)
        for places, rows in self._pieces(None, gradient):
            found += (values[:, None, places] @ rows)[:, 0]
        return found

    def _pieces(self, head: int | None, gradient: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
        """A few queries at a time: their places in this map, and their weights [B, queries, Nk], mean over heads."""
        heads, keys = slice(None) if head is None else slice(head, head + 1), _slice(self._keys)
        batch, count, _, all_keys = self.weights.shape
        at_once = max(_NUMBERS_AT_ONCE // (batch * (count if head is None else 1) * all_keys), 1)
        for start in range(0, len(self._queries), at_once):
            places = slice(start, min(start + at_once, len(self._queries)))
            queries = _slice(self._queries[places])
            rows = self.weights.rows(queries, heads)
            if gradient is not None:
                rows = (rows * self.weights.slopes(queries, gradient)).clamp(min=0)
            yield places, rows[..., keys].mean(1)


class Attention:
    """What looked at what while a model encoded, in the layers that were asked for.

    A model with one sequence of tokens gives `joint`; one whose streams look at each other gives the weights between
    any two; what a model doesn't have is None.

    Attributes:
        joint: by layer, counted from 0, that over the whole sequence; None in models without one.
        slices: where each stream lies in that sequence.
    """

    def __init__(
        self,
        joint: Mapping[int, Weights] | None = None,
        slices: Mapping[str, slice] | None = None,
        crossed: Mapping[tuple[str, str], Mapping[int, Weights]] | None = None,
    ) -> None:
        """
        Args:
            crossed: by (queries, keys), by layer.
        """
        self.joint = None if joint is None else {layer: AttentionMap(one) for layer, one in joint.items()}
        self.slices = dict(slices or {})
        self._crossed = {
            pair: {layer: AttentionMap(one) for layer, one in layers.items()}
            for pair, layers in (crossed or {}).items()
        }

    def between(self, queries: str, keys: str) -> dict[int, AttentionMap] | None:
        """By layer, the weights with which one stream looks at another; None without any."""
        if (queries, keys) in self._crossed:
            return self._crossed[queries, keys]
        if self.joint is None or queries not in self.slices or keys not in self.slices:
            return None
        rows, columns = self.slices[queries], self.slices[keys]
        return {layer: one.part(rows, columns) for layer, one in self.joint.items()}


def _slice(places: range) -> slice:
    return slice(places.start, places.stop)
