"""Three streams that look at each other."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.features.settings import FeatureSettings
from pipeline.models.attention import Attention, Layers, Stored, is_wanted
from pipeline.models.blocks import Blocks
from pipeline.models.contract import AUDIO, VISUAL, AudioVisualModel, Encoded, Inputs, TokenGrid, Tokens
from pipeline.models.dropout import Dropout
from pipeline.models.recompute import run_block
from toy_system.settings import ThreeStreamsSettings

KEYPOINTS = "keypoints"


class ThreeStreams(AudioVisualModel):
    """Each stream has its own width; in every layer its tokens look at those of the two others."""

    def __init__(
        self, settings: ThreeStreamsSettings, features: FeatureSettings, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        super().__init__()
        self.settings = settings
        frames, _, side, _ = shapes["frames"]
        self._cells = side // settings.patch
        self._counts = (frames, shapes["sound"][-1] // settings.window, shapes["corners"][0])
        self.patches = nn.Conv2d(3, settings.visual_width, settings.patch, settings.patch)
        self.windows = nn.Linear(settings.window, settings.audio_width)
        self.points = nn.Linear(2, settings.keypoints_width)
        self.positions = nn.ModuleDict(
            {name: Positions(self.grids[name].count, width) for name, width in self.widths.items()}
        )
        self.layers = Blocks(CoAttention(self.widths, settings) for _ in range(settings.layers))

    @property
    def grids(self) -> Mapping[str, TokenGrid]:
        frames, windows, points = self._counts
        return {
            VISUAL: TokenGrid((("time", frames), ("row", self._cells), ("column", self._cells))),
            AUDIO: TokenGrid((("time", windows),)),
            KEYPOINTS: TokenGrid((("point", points),)),
        }

    @property
    def widths(self) -> Mapping[str, int]:
        settings = self.settings
        return {VISUAL: settings.visual_width, AUDIO: settings.audio_width, KEYPOINTS: settings.keypoints_width}

    def embed(self, inputs: Inputs) -> Tokens:
        """`frames` [B, T, 3, H, W], `sound` [B, C, S] and `corners` [B, 5, 2] → tokens of each that is given."""
        tokens: Tokens = {}
        if "frames" in inputs:
            frames = inputs["frames"].to(self.patches.weight.dtype)
            tokens[VISUAL] = self.patches(frames.flatten(0, 1)).flatten(2).transpose(1, 2).flatten(0, 1)
            tokens[VISUAL] = tokens[VISUAL].reshape(len(frames), -1, self.settings.visual_width)
        if "sound" in inputs:
            sound = inputs["sound"].mean(1).to(self.windows.weight.dtype)
            windows = sound[:, : self._counts[1] * self.settings.window].unflatten(1, (self._counts[1], -1))
            tokens[AUDIO] = self.windows(windows)
        if "corners" in inputs:
            tokens[KEYPOINTS] = self.points(inputs["corners"].to(self.points.weight.dtype))
        return tokens

    def place(self, embedded: Tokens) -> Tokens:
        return {name: self.positions[name](tokens) for name, tokens in embedded.items()}

    @property
    def attention_layers(self) -> int:
        return len(self.layers)

    def encode(self, placed: Tokens, attention: Layers = False) -> Encoded:
        tokens, looked = placed, dict[tuple[str, str], dict[int, Stored]]()
        for number, layer in enumerate(self.layers):
            tokens, weights = run_block(layer, tokens)
            for between, one in weights.items() if is_wanted(number, attention) else ():
                looked.setdefault(between, {})[number] = Stored(one)
        return Encoded(tokens, Attention(crossed=looked) if looked else None)


class Positions(nn.Module):
    """A learned vector a place, added to the tokens [B, N, D]."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.empty(count, width))

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.places, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.places


class CoAttention(nn.Module):
    """A layer: the tokens of each stream look at those of every other one, then pass a feed-forward network."""

    def __init__(self, widths: Mapping[str, int], settings: ThreeStreamsSettings) -> None:
        super().__init__()
        self.heads, inner = settings.heads, 4 * settings.heads
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name, width in widths.items()})
        self.query_key_values = nn.ModuleDict({name: nn.Linear(width, 3 * inner) for name, width in widths.items()})
        self.outs = nn.ModuleDict({name: nn.Linear(inner, width) for name, width in widths.items()})
        self.dropout = Dropout(settings.dropout)
        self.feed_forwards = nn.ModuleDict({name: _feed_forward(width) for name, width in widths.items()})

    def forward(self, tokens: Tokens) -> tuple[Tokens, dict[tuple[str, str], Tensor]]:
        """Tokens [B, N, D] of each stream, and by (queries, keys) the attention [B, heads, Nq, Nk]."""
        parts = {name: self._split(self.query_key_values[name](self.norms[name](one))) for name, one in tokens.items()}
        found, weights = {}, {}
        for name, stream in tokens.items():
            mixed = torch.zeros_like(parts[name][0])
            for other in tokens:
                if other != name:
                    query, key, value = parts[name][0], *parts[other][1:]
                    weights[name, other] = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(-1)
                    mixed = mixed + self.dropout(weights[name, other]) @ value
            stream = stream + self.outs[name](mixed.transpose(1, 2).flatten(2))
            found[name] = stream + self.feed_forwards[name](stream)
        return found, weights

    def _split(self, joined: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values [B, heads, N, d]."""
        return joined.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()


def _feed_forward(width: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
