"""The blocks of the co-attention module (paper 003, Figure 3 and Eq. 1–2)."""

from collections.abc import Mapping

from torch import Tensor, nn

from pipeline.models.attention import DotProducts, Weights
from pipeline.models.co_attention.settings import CoAttentionSettings
from pipeline.models.contract import AUDIO, VISUAL, Tokens
from pipeline.models.dropout import Dropout
from pipeline.models.encoder import mixed_values

_LOOKS_AT_THE_OTHER = {"cma": (AUDIO, VISUAL), "aga": (AUDIO,), "vga": (VISUAL,)}
Looked = dict[tuple[str, str], Weights]
"""By (queries, keys)."""
Biases = Mapping[tuple[str, str], Tensor]
"""By (queries, keys), [heads, Nq, Nk]; nothing of those without."""


class AttentionBlock(nn.Module):
    """Multi-head attention of some tokens to others, or to themselves, and a feed-forward network; residual connections
    to the tokens that look, and a layer norm behind each."""

    def __init__(self, settings: CoAttentionSettings) -> None:
        super().__init__()
        width, feed_forward = settings.width, settings.feed_forward
        self.heads = settings.heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, feed_forward), nn.ReLU(), nn.Linear(feed_forward, width))
        self.last_norm = nn.LayerNorm(width)
        self.dropout = Dropout(settings.dropout)

    def forward(self, tokens: Tensor, others: Tensor, bias: Tensor | None = None) -> tuple[Tensor, DotProducts]:
        """Tokens [B, N, D] that look at others [B, M, D] → [B, N, D].

        Args:
            bias: [heads, N, M], added to the logits of attention.
        """
        query = self._split(self.query(tokens))
        key, value = (self._split(one) for one in self.key_value(others).chunk(2, -1))
        mixed = mixed_values(query, key, value, self.dropout, bias)
        seen = self.norm(tokens + self.dropout(self.out(mixed.transpose(1, 2).flatten(2))))
        found: Tensor = self.last_norm(seen + self.dropout(self.feed_forward(seen)))
        return found, DotProducts(query, key, value, mixed, bias)

    def _split(self, stream: Tensor) -> Tensor:
        """[B, N, D] → [B, heads, N, D / heads]"""
        return stream.view(*stream.shape[:2], self.heads, -1).transpose(1, 2)


class CoAttentionModule(nn.Module):
    """A block in which streams look at each other, or the one that doesn't at itself, and one of self-attention."""

    def __init__(self, settings: CoAttentionSettings) -> None:
        super().__init__()
        self._crosses = _LOOKS_AT_THE_OTHER[settings.co_attention]
        streams = [name for name in (VISUAL, AUDIO) if name in settings.streams]
        self.first = nn.ModuleDict({name: AttentionBlock(settings) for name in streams})
        self.self_attention = nn.ModuleDict({name: AttentionBlock(settings) for name in streams})

    def forward(self, tokens: Tokens, biases: Biases, keep: bool = False) -> tuple[Tokens, Looked]:
        """Tokens of each stream that is given, and what each looked at if that is to be kept. A stream that is given
        alone looks at itself, as in the paper's vision-only model."""
        others = {VISUAL: AUDIO, AUDIO: VISUAL}
        found, looked = Tokens(), Looked()
        for name, stream in tokens.items():
            seen = others[name] if name in self._crosses and others[name] in tokens else name
            between, first = self.first[name](stream, tokens[seen], biases.get((name, seen)))
            found[name], own = self.self_attention[name](between, between, biases.get((name, name)))
            if keep:
                looked |= {(name, seen): first, (name, name): own}
        return found, looked
