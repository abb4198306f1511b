"""Look, Listen and Attend: encoders of waveform and clip, and modules in which they look at each other (paper 003)."""

from collections.abc import Mapping, Sequence
from itertools import permutations

import torch
from torch import Tensor, nn

from pipeline.features.inputs import SOUND
from pipeline.features.settings import FeatureSettings
from pipeline.models.attention import Attention, Layers, Weights, is_wanted
from pipeline.models.blocks import Blocks
from pipeline.models.co_attention.attention import CoAttentionModule
from pipeline.models.co_attention.encoders import ClipEncoder, WaveformEncoder, lengths_of, shown_of
from pipeline.models.co_attention.settings import CoAttentionSettings
from pipeline.models.contract import AUDIO, CLASS, VISUAL, AudioVisualModel, Encoded, Inputs, TokenGrid, Tokens
from pipeline.models.dropout import Dropout
from pipeline.models.receptive_field import receptive_field
from pipeline.models.recompute import run_block

_CLIP_AXES = ("time", "row", "column")
_LONGEST_WAVE_S, _SHORTEST_WAVE_S = 32.0, 0.1
_MIDDLE, _SCALE = 0.45, 0.225


class CoAttention(AudioVisualModel):
    """Its streams are `visual`, tokens by time, row and column of the clip; `audio`, by time of the waveform; and
    `class`, what the fusion layer makes of the mean or maximum of both; that of one that isn't given is 0."""

    def __init__(
        self, settings: CoAttentionSettings, features: FeatureSettings, shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        super().__init__()
        self.settings, self._features = settings, features
        frames, _, *sides = shapes["frames"]
        clip = (settings.channels, frames, *sides)
        self.clip_encoder = ClipEncoder(settings)
        seen = lengths_of(self.clip_encoder, clip)
        fields = [receptive_field(self.clip_encoder, clip[1 + at], at) for at in range(3)]
        axes = tuple(zip(_CLIP_AXES, seen, strict=True))
        self._by_place = {VISUAL: TokenGrid(axes, dict(zip(_CLIP_AXES, fields, strict=True)))}
        if settings.hears:
            waveform = (*shapes[SOUND], 1)
            self.waveform_encoder = WaveformEncoder(settings, waveform[0])
            (heard,) = lengths_of(self.waveform_encoder, waveform)[:1]
            over_sound = receptive_field(self.waveform_encoder, waveform[1], 0)
            self._by_place[AUDIO] = TokenGrid((("time", heard),), {"time": over_sound})
        self.places: nn.Parameter | None = None
        if self._has_positions:
            self.places = nn.Parameter(torch.empty(seen[1] * seen[2], settings.width))
            for name, grid in self._by_place.items():
                self.register_buffer(f"{name}_waves", torch.empty(grid.shape[0], settings.width), persistent=False)
        for pair in self._near:
            tokens = (self._by_place[name].count for name in pair)
            self.register_buffer(_bias_of(*pair), torch.empty(settings.heads, *tokens), persistent=False)
        self.dropout = Dropout(settings.dropout)
        self.co_attention = Blocks(CoAttentionModule(settings) for _ in range(settings.layers))
        self.fusion = nn.Sequential(nn.Linear(2 * settings.width, settings.width), nn.ReLU())

    def reset_parameters(self) -> None:
        """Fill the places of the clip, and what follows from times and places (it is not part of a checkpoint)."""
        if self.places is not None:
            nn.init.trunc_normal_(self.places, std=0.02)
            for name, moments_s in self._times_s.items():
                self.get_buffer(f"{name}_waves").copy_(_waves(torch.tensor(moments_s), self.settings.width))
        for (one, other), near in self._near.items():
            apart = torch.cdist(self._where(one, one != other), self._where(other, one != other))
            reach = near * 2.0 ** torch.arange(self.settings.heads)
            self.get_buffer(_bias_of(one, other)).copy_(-apart / reach[:, None, None])

    @property
    def grids(self) -> Mapping[str, TokenGrid]:
        """How the tokens of each stream lie."""
        streams = self._by_place
        if self.settings.tokens == "samples":
            streams = {name: TokenGrid(tuple((axis, 1) for axis in grid.names)) for name, grid in streams.items()}
        return {CLASS: TokenGrid((("token", 1),)), **streams}

    @property
    def widths(self) -> Mapping[str, int]:
        """D of each stream."""
        return dict.fromkeys(self.settings.streams, self.settings.width)

    @property
    def moments_s(self) -> Mapping[str, Sequence[float]]:
        """The middle of what each time of tokens sees and hears."""
        return self._times_s if self.settings.tokens == "places" else {}

    @property
    def attention_layers(self) -> int:
        """Co-attention modules."""
        return self.settings.layers

    def embed(self, inputs: Inputs) -> Tokens:
        """`frames` [B, T, 3, H, W] in 0–1 → `visual` [B, t·h·w, D]; `sound` [B, C, S] in −1..1 → `audio` [B, s, D]."""
        tokens: Tokens = {}
        if "frames" in inputs:
            clip = ((inputs["frames"] - _MIDDLE) / _SCALE).transpose(1, 2).to(self._precision)
            tokens[VISUAL] = self.clip_encoder(shown_of(clip, self.settings)).flatten(2).transpose(1, 2)
        if SOUND in inputs:
            waveform = inputs[SOUND][..., None].to(self._precision)
            tokens[AUDIO] = self.waveform_encoder(waveform).flatten(2).transpose(1, 2)
        if self.settings.tokens == "samples":
            return {name: stream.mean(1, keepdim=True) for name, stream in tokens.items()}
        return tokens

    def place(self, embedded: Tokens) -> Tokens:
        """With positions, where there are any."""
        placed = {name: embedded[name] for name in (VISUAL, AUDIO) if name in embedded}
        if self.places is not None:
            for name in placed:
                waves = self.get_buffer(f"{name}_waves").to(self.places.dtype)
                positions = waves if name == AUDIO else (waves[:, None] + self.places).flatten(0, 1)
                placed[name] = placed[name] + positions
        return {name: self.dropout(stream) for name, stream in placed.items()}

    def encode(self, placed: Tokens, attention: Layers = False) -> Encoded:
        """Through the modules, and the fusion layer. A stream that is given alone looks at itself only."""
        tokens = {name: placed[name] for name in (VISUAL, AUDIO) if name in placed}
        if by_sample := self.settings.tokens == "samples":
            tokens = {name: stream.transpose(0, 1) for name, stream in tokens.items()}
        precision = next(iter(tokens.values())).dtype
        biases = {pair: self.get_buffer(_bias_of(*pair)).to(precision) for pair in self._near}
        looked: dict[tuple[str, str], dict[int, Weights]] = {}
        for number, module in enumerate(self.co_attention):
            if is_wanted(number, attention):
                tokens, weights = module(tokens, biases, True)
                for pair, one in weights.items():
                    looked.setdefault(pair, {})[number] = one
            else:
                tokens, _ = run_block(module, tokens, biases)
        if by_sample:
            tokens = {name: stream.transpose(0, 1) for name, stream in tokens.items()}
        given = {name: self._pooled(stream) for name, stream in tokens.items()}
        nothing = torch.zeros_like(next(iter(given.values())))
        both = torch.cat([given.get(name, nothing) for name in (VISUAL, AUDIO)], -1)
        found = Attention(crossed=looked) if looked and not by_sample else None
        return Encoded({CLASS: self.fusion(both), **tokens}, found)

    def _pooled(self, tokens: Tensor) -> Tensor:
        """[B, N, D] → [B, 1, D]"""
        return tokens.amax(1, keepdim=True) if self.settings.pool == "max" else tokens.mean(1, keepdim=True)

    @property
    def _near(self) -> Mapping[tuple[str, str], float]:
        """By (queries, keys), how near is near."""
        settings = self.settings
        between = dict.fromkeys(permutations(self._by_place, 2), settings.near_s)
        return {
            pair: near for pair, near in {**between, (VISUAL, VISUAL): settings.near_place}.items() if near is not None
        }

    def _where(self, name: str, in_time: bool) -> Tensor:
        """[N, 1] when each token of a stream is (s), or [N, 2] where it lies (sides of the frame)."""
        grid = self._by_place[name]
        along = [torch.tensor(self._times_s[name] if axis == "time" else grid.centres(axis)) for axis in grid.names]
        whole = dict(zip(grid.names, torch.meshgrid(*along, indexing="ij"), strict=True))
        return torch.stack([whole[axis].flatten() for axis in (("time",) if in_time else ("row", "column"))], 1)

    @property
    def _has_positions(self) -> bool:
        return self.settings.positions != "none" and self.settings.tokens == "places"

    @property
    def _times_s(self) -> Mapping[str, Sequence[float]]:
        """By stream, from the middle of the sound."""
        span_s = {
            VISUAL: self._features.frame_times.span_s,
            AUDIO: self._features.audio_samples / self._features.audio_rate_hz,
        }
        return {
            name: [(centre - 0.5) * span_s[name] for centre in grid.centres("time")]
            for name, grid in self._by_place.items()
        }

    @property
    def _precision(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype


def _bias_of(queries: str, keys: str) -> str:
    return f"{queries}_to_{keys}_bias"


def _waves(times_s: Tensor, width: int) -> Tensor:
    """[T, width] sines and cosines of times, of wavelengths from a tenth of a second up (Vaswani et al. 2017)."""
    share = torch.arange(width // 2) / max(width // 2 - 1, 1)
    lengths_s = _SHORTEST_WAVE_S * (_LONGEST_WAVE_S / _SHORTEST_WAVE_S) ** share
    angles = 2 * torch.pi * times_s[:, None] / lengths_s
    return torch.cat([angles.sin(), angles.cos()], 1)
