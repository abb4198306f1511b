"""The General Audio-Visual Transformer (G-AVT thesis, section 3.1, Figure 1, Table 2)."""

from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn

from pipeline.features.frame_times import FrameTimes
from pipeline.features.settings import FeatureSettings
from pipeline.models.attention import Attention, Layers
from pipeline.models.contract import AUDIO, CLASS, VISUAL, Encoded, TokenGrid, Tokens
from pipeline.models.dropout import Dropout
from pipeline.models.encoder import Encoder
from pipeline.models.frames_and_sound import FramesAndSound
from pipeline.models.layout import TokenLayout
from pipeline.models.settings import GavtSettings

REGISTERS = "registers"
"""A stream that comes from no input, as the class token doesn't."""


class Gavt(FramesAndSound):
    """Two embedders, learned positions, a class token and one encoder over the tokens of both modalities.

    Its streams are `class`, `visual`, `audio` and, where there are any, `registers`; they meet in one sequence.

    Attributes:
        layout: where each token of the sequence comes from.
        positions: [1, 1 + h·w + f·t, D]: of the class token, of a frame's visual tokens and of audio tokens.
        frame_positions: [1, T, D], added to all visual tokens of a frame, and to audio tokens that are aligned with it;
            None with one frame.
        registers: [1, R, D] tokens without a place; None without them.
    """

    def __init__(
        self, settings: GavtSettings, features: FeatureSettings, shapes: Mapping[str, tuple[int, ...]] | None = None
    ) -> None:
        """`shapes` of the inputs are those that `features` says."""
        super().__init__(settings, features)
        self.settings = settings
        visual_grid, audio_grid = self.visual_grid, self.audio_grid
        aligned = _aligned_frames(settings, features, audio_grid[1])
        self.layout = TokenLayout(visual_grid, audio_grid, features.frames, settings.registers, aligned)
        placed = 1 + visual_grid[0] * visual_grid[1] + audio_grid[0] * audio_grid[1]
        self.class_token = nn.Parameter(torch.empty(1, 1, settings.width))
        self.positions = nn.Parameter(torch.empty(1, placed, settings.width))
        several = features.frames > 1
        self.frame_positions = nn.Parameter(torch.empty(1, features.frames, settings.width)) if several else None
        registers = settings.registers > 0  # engines choke on a parameter without numbers
        self.registers = nn.Parameter(torch.empty(1, settings.registers, settings.width)) if registers else None
        self.embedding_norm = nn.LayerNorm(settings.width)
        self.embedding_dropout = Dropout(settings.dropout)
        self.encoder = Encoder(settings)

    def reset_parameters(self) -> None:
        """Initialise what this module itself owns; its children do the same for theirs."""
        for tokens in (self.class_token, self.positions, self.frame_positions, self.registers):
            if tokens is not None:
                nn.init.trunc_normal_(tokens, std=0.02)
        super().reset_parameters()

    @property
    def grids(self) -> Mapping[str, TokenGrid]:
        """How the tokens of each stream lie."""
        grids = {CLASS: TokenGrid((("token", 1),)), **self.embedded_grids}
        registers = self.layout.registers
        return grids | ({REGISTERS: TokenGrid((("token", registers),))} if registers else {})

    @property
    def widths(self) -> Mapping[str, int]:
        """D of each stream."""
        return dict.fromkeys(self.layout.slices, self.settings.width)

    @property
    def attention_layers(self) -> int:
        """The encoder's."""
        return self.settings.layers

    def place(self, embedded: Tokens) -> Tokens:
        """Class token, visual and audio tokens with their positions, registers, as they enter the encoder."""
        sequence, slices = self._sequence(embedded)
        return _split(sequence, slices)

    def encode(self, placed: Tokens, attention: Layers = False) -> Encoded:
        """All streams that are given through the one encoder, as a sequence."""
        given = {name: placed[name] for name in self.layout.slices if name in placed}
        return self._encode(torch.cat(list(given.values()), dim=1), _slices(given), attention)

    def fuse(self, embedded: Tokens, attention: Layers = False) -> Encoded:
        """As of the contract, without cutting the sequence in between."""
        sequence, slices = self._sequence(embedded)
        return self._encode(sequence, slices, attention)

    def _sequence(self, embedded: Tokens) -> tuple[Tensor, Mapping[str, slice]]:
        """The encoder's input [B, N, D], and where each stream lies in it."""
        batch = len(next(iter(embedded.values())))
        given = {CLASS: self.class_token.expand(batch, -1, -1)}
        given |= {name: embedded[name] for name in (VISUAL, AUDIO) if name in embedded}
        positions = self._positions()
        if len(embedded) == 1:
            positions = torch.cat([positions[:, self.layout.slices[name]] for name in given], dim=1)
        fused = torch.cat(list(given.values()), dim=1) + positions
        if self.registers is not None:
            given[REGISTERS] = self.registers.expand(batch, -1, -1)
            fused = torch.cat([fused, given[REGISTERS]], dim=1)
        return self.embedding_dropout(self.embedding_norm(fused)), _slices(given)

    def _encode(self, sequence: Tensor, slices: Mapping[str, slice], attention: Layers) -> Encoded:
        tokens, weights = self.encoder(sequence, attention)
        return Encoded(_split(tokens, slices), Attention(weights, slices) if weights else None)

    def _positions(self) -> Tensor:
        """[1, 1 + T·h·w + f·t, D]"""
        if self.frame_positions is None:
            return self.positions
        layout = self.layout
        first, space, sound = torch.tensor_split(self.positions, (1, layout.visual_of(0).stop), dim=1)
        visual = (space[:, None] + self.frame_positions[:, :, None]).flatten(1, 2)
        if layout.frame_of_time is not None:
            moments = self.frame_positions[:, list(layout.frame_of_time)]  # [1, t, D]
            sound = (sound.reshape(1, *layout.audio_grid, -1) + moments[:, None]).flatten(1, 2)
        return torch.cat([first, visual, sound], dim=1)


def _slices(streams: Tokens) -> dict[str, slice]:
    """Where each stream lies in the sequence of them all."""
    ends = list(accumulate(tokens.shape[1] for tokens in streams.values()))
    return {name: slice(begin, end) for name, begin, end in zip(streams, [0, *ends], ends, strict=False)}


def _split(sequence: Tensor, slices: Mapping[str, slice]) -> Tokens:
    return {name: sequence[:, where] for name, where in slices.items()}


def _aligned_frames(settings: GavtSettings, features: FeatureSettings, times: int) -> tuple[int, ...] | None:
    """For each of so many times of the audio grid the frame nearest to its middle; None where none are aligned."""
    if settings.audio_alignment == "whole":
        return None
    sound_s = features.audio_samples / features.audio_rate_hz
    shown = FrameTimes(features.frames, features.frame_rate_hz, sound_s)
    return tuple(shown.nearest(((time + 0.5) / times - 0.5) * sound_s) for time in range(times))
