"""The block in which three streams look at each other (paper 001, Tri-modal Co-attention)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.attention import DotProducts, Stored, Weights, attention_weights
from pipeline.models.contract import Tokens
from pipeline.models.dropout import Dropout
from pipeline.models.encoder import EncoderLayer
from pipeline.models.settings import EncoderSettings
from pipeline.models.tribert.settings import TribertSettings

NORM_EPSILON = 1e-12
"""BERT's."""
Looked = dict[tuple[str, str], Weights]
"""By (queries, keys)."""


class TribertBlock(nn.Module):
    """Each stream looks at the others, then at itself; a feed-forward network behind each."""

    def __init__(self, widths: Mapping[str, int], settings: TribertSettings) -> None:
        super().__init__()
        self.co_attention = CoAttention(widths, settings)
        self.self_attention = nn.ModuleDict(
            {
                name: EncoderLayer(_encoder_settings(width, settings), 0.0, NORM_EPSILON)
                for name, width in widths.items()
            }
        )

    def forward(self, tokens: Tokens, keep: bool = False) -> tuple[Tokens, Looked]:
        """Tokens [B, N, D] of each stream that is given, and what each looked at if that is to be kept."""
        tokens, weights = self.co_attention(tokens)
        looked: Looked = {pair: Stored(one) for pair, one in weights.items()} if keep else {}
        found: Tokens = {}
        for name, stream in tokens.items():
            found[name], parts = self.self_attention[name](stream, keep)
            if keep:
                looked[name, name] = DotProducts(*parts)
        return found, looked


class CoAttention(nn.Module):
    """Queries of each stream, keys and values of the others, BERT's residual connections and norms.

    With `join` of `features`, the n-th tokens of both others are one key; where one stream has fewer than the other or
    isn't given, its half is zeros; each half has a dropout of its own. A stream that is given alone is left as it is.
    """

    def __init__(self, widths: Mapping[str, int], settings: TribertSettings) -> None:
        super().__init__()
        self.streams, self.heads, self.by_tokens = tuple(widths), settings.heads, settings.join == "tokens"
        shared, feed_forward = settings.shared_width, settings.feed_forward
        own = shared if self.by_tokens else shared // (len(widths) - 1)
        self.queries = nn.ModuleDict({name: nn.Linear(width, shared) for name, width in widths.items()})
        self.key_of = nn.ModuleDict({name: nn.Linear(width, own) for name, width in widths.items()})
        self.value_of = nn.ModuleDict({name: nn.Linear(width, own) for name, width in widths.items()})
        self.outs = nn.ModuleDict({name: nn.Linear(shared, width) for name, width in widths.items()})
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width, NORM_EPSILON) for name, width in widths.items()})
        self.feed_forwards = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width))
                for name, width in widths.items()
            }
        )
        self.last_norms = nn.ModuleDict({name: nn.LayerNorm(width, NORM_EPSILON) for name, width in widths.items()})
        self.dropout = Dropout(settings.dropout)

    def forward(self, tokens: Tokens) -> tuple[Tokens, dict[tuple[str, str], Tensor]]:
        """Tokens [B, N, D] of each stream, and by (queries, keys) the weights [B, heads, Nq, Nk]."""
        if len(tokens) == 1:
            return tokens, {}
        keys = {name: self._split(self.key_of[name](stream)) for name, stream in tokens.items()}
        values = {name: self._split(self.value_of[name](stream)) for name, stream in tokens.items()}
        found, looked = Tokens(), dict[tuple[str, str], Tensor]()
        for name, stream in tokens.items():
            others = [other for other in self.streams if other != name]
            query = self._split(self.queries[name](stream))
            weights = attention_weights(query, self._join(keys, others))
            given, mixed, first = [other for other in others if other in tokens], Tokens(), 0
            for other in given:
                count = keys[other].shape[2]
                part = looked[name, other] = weights[..., first : first + count]
                mixed[other] = self.dropout(part) @ values[other]
                first += count if self.by_tokens else 0
            out = self.outs[name](self._mix(mixed, others).transpose(1, 2).flatten(2))
            seen = self.norms[name](stream + self.dropout(out))
            found[name] = self.last_norms[name](seen + self.dropout(self.feed_forwards[name](seen)))
        return found, looked

    def _split(self, stream: Tensor) -> Tensor:
        """[B, N, D] → [B, heads, N, D / heads]"""
        return stream.view(*stream.shape[:2], self.heads, -1).transpose(1, 2)

    def _join(self, keys: Mapping[str, Tensor], others: list[str]) -> Tensor:
        """Keys of the others, as one stream's."""
        given = [keys[other] for other in others if other in keys]
        if self.by_tokens:
            return torch.cat(given, 2)
        most = max(one.shape[2] for one in given)
        halves = [keys.get(other, given[0][:, :, :0]) for other in others]
        return torch.cat([F.pad(half, (0, 0, 0, most - half.shape[2])) for half in halves], -1)

    def _mix(self, mixed: Tokens, others: list[str]) -> Tensor:
        """What was seen of each of the others, together."""
        given = list(mixed.values())
        if self.by_tokens:
            return torch.stack(given).sum(0)
        return torch.cat([mixed.get(other, torch.zeros_like(given[0])) for other in others], -1)


def _encoder_settings(width: int, settings: TribertSettings) -> EncoderSettings:
    return EncoderSettings(
        width=width,
        feed_forward=settings.feed_forward,
        layers=settings.blocks,
        heads=settings.heads,
        dropout=settings.dropout,
    )
