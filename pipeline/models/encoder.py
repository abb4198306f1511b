"""The transformer encoder (BERT's), with its attention maps on request."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class SelfAttention(nn.Module):
    """Multi-head self-attention over tokens [B, N, D]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, return_attention: bool) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, N, D], and the attention [B, heads, N, N] (rows are queries) if asked for.

        Both ways compute the same; without maps the fused kernel is used and the N² weights are never stored.
        """
        batch, count, width = tokens.shape
        query, key, value = self.query_key_value(tokens).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        attention = None
        if return_attention:
            attention = (query @ key.transpose(-2, -1) * key.shape[-1] ** -0.5).softmax(-1)
            mixed = F.dropout(attention, dropout) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.out(mixed.transpose(1, 2).reshape(batch, count, width)), attention


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each with a residual connection, dropout and layer norm."""

    def __init__(self, width: int, feed_forward: int, heads: int, dropout: float, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = SelfAttention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feed_forward), nn.GELU(), nn.Dropout(dropout), nn.Linear(feed_forward, width)
        )
        self.feed_forward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, return_attention: bool) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, N, D] → tokens, and the attention [B, heads, N, N] if asked for."""
        if self.norm_first:
            mixed, attention = self.attention(self.attention_norm(tokens), return_attention)
            tokens = tokens + self.dropout(mixed)
            return tokens + self.dropout(self.feed_forward(self.feed_forward_norm(tokens))), attention
        mixed, attention = self.attention(tokens, return_attention)
        tokens = self.attention_norm(tokens + self.dropout(mixed))
        return self.feed_forward_norm(tokens + self.dropout(self.feed_forward(tokens))), attention


class Encoder(nn.Module):
    """A stack of encoder layers.

    Attributes:
        checkpointing: recompute each layer in the backward pass instead of keeping its activations. The layers hold no
            batch norm, so nothing is updated twice.
    """

    def __init__(
        self, layers: int, width: int, feed_forward: int, heads: int, dropout: float, norm_first: bool
    ) -> None:
        super().__init__()
        self.checkpointing = False
        self.layers = nn.ModuleList(
            EncoderLayer(width, feed_forward, heads, dropout, norm_first) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width) if norm_first else nn.Identity()

    def forward(self, tokens: Tensor, return_attention: bool = False) -> tuple[Tensor, list[Tensor] | None]:
        """Tokens [B, N, D] → tokens, and a list over layers of attention [B, heads, N, N] if asked for."""
        maps: list[Tensor] = []
        for layer in self.layers:
            if self.checkpointing and self.training and not return_attention:
                tokens, attention = checkpoint(layer, tokens, False, use_reentrant=False)
            else:
                tokens, attention = layer(tokens, return_attention)
            if attention is not None:
                maps.append(attention)
        return self.norm(tokens), maps if return_attention else None
