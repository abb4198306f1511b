"""The transformer encoder (BERT's and ViT's), with its attention on request."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.attention import DotProducts, Layers, Weights, attention_weights, is_wanted
from pipeline.models.blocks import Blocks
from pipeline.models.dropout import Dropout, drop_path
from pipeline.models.recompute import run_block
from pipeline.models.settings import EncoderSettings

_NORM_EPSILON = 1e-5


def mixed_values(query: Tensor, key: Tensor, value: Tensor, dropout: Dropout, bias: Tensor | None = None) -> Tensor:
    """Means of values by the weights of queries and keys [B, heads, N, D], whose logits have a bias [heads, Nq, Nk].

    The fused kernel is used and the N² weights are never stored, except with dropout on a CPU, which has no such
    kernel.
    """
    rate = dropout.rate if dropout.training else 0.0
    if rate and query.device.type == "cpu" and not torch.compiler.is_compiling():
        weights: Tensor = dropout(attention_weights(query, key, bias))
        return weights @ value
    mask = None if bias is None else bias[None]  # kernels want all four axes
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)


class SelfAttention(nn.Module):
    """Multi-head self-attention over tokens [B, N, D]."""

    def __init__(self, settings: EncoderSettings, norm_epsilon: float) -> None:
        super().__init__()
        width = settings.width
        self.heads = settings.heads
        self.dropout = Dropout(settings.dropout)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.query_norm: nn.Module = nn.Identity()
        self.key_norm: nn.Module = nn.Identity()
        if settings.query_key_norm:
            self.query_norm = nn.LayerNorm(width // settings.heads, norm_epsilon)
            self.key_norm = nn.LayerNorm(width // settings.heads, norm_epsilon)

    def forward(self, tokens: Tensor, keep: bool = False) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens [B, N, D], and what `DotProducts` are made of if that is to be kept."""
        batch, count, width = tokens.shape
        query, key, value = self.query_key_value(tokens).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key = self.query_norm(query), self.key_norm(key)
        mixed = mixed_values(query, key, value, self.dropout)
        out = self.out(mixed.transpose(1, 2).reshape(batch, count, width))
        return out, (query, key, value, mixed) if keep else ()


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each with a residual connection, dropout and layer norm, and on
    request layer scale and stochastic depth."""

    def __init__(self, settings: EncoderSettings, drop_rate: float, norm_epsilon: float) -> None:
        super().__init__()
        width, feed_forward, dropout = settings.width, settings.feed_forward, settings.dropout
        self.norm_first = settings.norm_first
        self.drop_path = drop_path(drop_rate, settings.drop_path)
        self.attention = SelfAttention(settings, norm_epsilon)
        self.attention_norm = nn.LayerNorm(width, norm_epsilon)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feed_forward), nn.GELU(), Dropout(dropout), nn.Linear(feed_forward, width)
        )
        self.feed_forward_norm = nn.LayerNorm(width, norm_epsilon)
        self.dropout = Dropout(dropout)
        self.attention_scale: nn.Module = nn.Identity()
        self.feed_forward_scale: nn.Module = nn.Identity()
        if settings.layer_scale is not None:
            self.attention_scale = LayerScale(width, settings.layer_scale)
            self.feed_forward_scale = LayerScale(width, settings.layer_scale)

    def forward(self, tokens: Tensor, keep: bool = False) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Tokens [B, N, D] → tokens, and what `DotProducts` are made of if that is to be kept."""
        if self.norm_first:
            mixed, attention = self.attention(self.attention_norm(tokens), keep)
            tokens = tokens + self._dropped(self.attention_scale(mixed))
            change = self.feed_forward(self.feed_forward_norm(tokens))
            return tokens + self._dropped(self.feed_forward_scale(change)), attention
        mixed, attention = self.attention(tokens, keep)
        tokens = self.attention_norm(tokens + self._dropped(self.attention_scale(mixed)))
        change = self.feed_forward(tokens)
        return self.feed_forward_norm(tokens + self._dropped(self.feed_forward_scale(change))), attention

    def _dropped(self, change: Tensor) -> Tensor:
        """Dropout, and stochastic depth."""
        return self.drop_path(self.dropout(change))  # type: ignore[no-any-return]  # torch types a module's call as Any


class LayerScale(nn.Module):
    """A learned factor a channel (CaiT, Touvron et al. 2021)."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.start = start
        self.scale = nn.Parameter(torch.empty(width))

    def reset_parameters(self) -> None:
        nn.init.constant_(self.scale, self.start)

    def forward(self, change: Tensor) -> Tensor:
        return change * self.scale


class Encoder(nn.Module):
    """A stack of encoder layers; the rate of stochastic depth grows linearly from 0 in the first to the setting's in
    the last.

    Attributes:
        sees_all: each token hears of all others (see `pipeline.models.receptive_field`).
    """

    sees_all = True

    def __init__(self, settings: EncoderSettings, norm_epsilon: float = _NORM_EPSILON) -> None:
        super().__init__()
        self.depth_scaled_init = settings.depth_scaled_init
        last = max(settings.layers - 1, 1)
        self.layers = Blocks(
            EncoderLayer(settings, settings.drop_path * index / last, norm_epsilon) for index in range(settings.layers)
        )
        self.norm = nn.LayerNorm(settings.width, norm_epsilon) if settings.norm_first else nn.Identity()

    def reset_parameters(self) -> None:
        """Make the output projections smaller where that is asked for; their own modules have filled them before."""
        if not self.depth_scaled_init:
            return
        factor = (2 * len(self.layers)) ** -0.5
        with torch.no_grad():
            for layer in self.layers:
                assert isinstance(layer, EncoderLayer)
                layer.attention.out.weight.mul_(factor)
                layer.feed_forward.get_parameter("3.weight").mul_(factor)

    def forward(self, tokens: Tensor, attention: Layers = False) -> tuple[Tensor, dict[int, Weights]]:
        """Tokens [B, N, D] → tokens, and by layer the attention of those that are asked for."""
        kept: dict[int, Weights] = {}
        for number, layer in enumerate(self.layers):
            if is_wanted(number, attention):
                tokens, parts = layer(tokens, True)
                kept[number] = DotProducts(*parts)
            else:
                tokens, _ = run_block(layer, tokens)
        return self.norm(tokens), kept
