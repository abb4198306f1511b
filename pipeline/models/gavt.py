"""The General Audio-Visual Transformer (G-AVT thesis, section 3.1, Figure 1, Table 2)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.features.float32 import Float32Buffers
from pipeline.features.frame_times import FrameTimes
from pipeline.features.settings import FeatureSettings
from pipeline.features.spectrogram import LogFrequencySpectrogram
from pipeline.models.dropout import Dropout
from pipeline.models.embedders.build import build_embedder
from pipeline.models.encoder import Encoder
from pipeline.models.layout import TokenLayout
from pipeline.models.settings import GavtSettings

_IMAGE_MEAN = (0.485, 0.456, 0.406)
_IMAGE_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Encoded:
    """What the encoder gives: tokens [B, N, D], and on request its attention, a list over layers of
    [B, heads, N, N] (rows are queries)."""

    tokens: Tensor
    attention: list[Tensor] | None


class Gavt(Float32Buffers):
    """Two embedders, learned positions, a class token and one encoder over the tokens of both modalities.

    Attributes:
        tokens: where each token comes from.
        positions: [1, 1 + h·w + f·t, D]: of the class token, of a frame's visual tokens and of audio tokens.
        frame_positions: [1, T, D], added to all visual tokens of a frame, and to audio tokens that are aligned with it;
            None with one frame.
        registers: [1, R, D] tokens without a place; None without them.
    """

    def __init__(self, settings: GavtSettings, features: FeatureSettings) -> None:
        super().__init__()
        self.settings = settings
        self.spectrogram = LogFrequencySpectrogram(features)
        frame, sound = (features.frame_size, features.frame_size), (features.frequency_bins, features.time_frames)
        self.visual_embedder, visual_grid = build_embedder(settings.visual_embedder, 3, frame, settings.width, False)
        self.audio_embedder, audio_grid = build_embedder(settings.audio_embedder, 1, sound, settings.width, True)
        aligned = _aligned_frames(settings, features, audio_grid[1])
        self.tokens = TokenLayout(visual_grid, audio_grid, features.frames, settings.registers, aligned)
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
        self.register_buffer("image_mean", torch.empty(3, 1, 1), persistent=False)
        self.register_buffer("image_deviation", torch.empty(3, 1, 1), persistent=False)

    image_mean: Tensor
    image_deviation: Tensor

    def reset_parameters(self) -> None:
        """Initialise what this module itself owns; its children do the same for theirs."""
        for tokens in (self.class_token, self.positions, self.frame_positions, self.registers):
            if tokens is not None:
                nn.init.trunc_normal_(tokens, std=0.02)
        self.image_mean.copy_(torch.tensor(_IMAGE_MEAN).view(3, 1, 1))
        self.image_deviation.copy_(torch.tensor(_IMAGE_DEVIATION).view(3, 1, 1))

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W] in 0–1 → visual embeddings [B, T·h·w, D]."""
        images = ((frames.flatten(0, 1) - self.image_mean) / self.image_deviation).to(self.positions.dtype)
        embedded: Tensor = self.visual_embedder(images.to(memory_format=torch.channels_last))
        return embedded.flatten(2).transpose(1, 2).reshape(len(frames), -1, embedded.shape[1])

    def embed_sound(self, waveform: Tensor) -> Tensor:
        """Waveform [B, C, S] in −1..1 → audio embeddings [B, f·t, D]; channels are averaged."""
        spectrogram = self.spectrogram(waveform.mean(1, keepdim=True)).to(self.positions.dtype)
        embedded: Tensor = self.audio_embedder(spectrogram.to(memory_format=torch.channels_last))
        return embedded.flatten(2).transpose(1, 2)

    def fuse(self, visual: Tensor, audio: Tensor) -> Tensor:
        """Class token, visual and audio embeddings with their positions, registers: the encoder's input [B, N, D]."""
        batch = len(visual)
        fused = torch.cat([self.class_token.expand(batch, -1, -1), visual, audio], dim=1) + self._positions()
        if self.registers is not None:
            fused = torch.cat([fused, self.registers.expand(batch, -1, -1)], dim=1)
        return self.embedding_dropout(self.embedding_norm(fused))  # type: ignore[no-any-return]  # a module's call

    def embed(self, frames: Tensor, waveform: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W] in 0–1 and waveform [B, C, S] in −1..1 → the encoder's input [B, N, D]."""
        return self.fuse(self.embed_frames(frames), self.embed_sound(waveform))

    def encode(self, frames: Tensor, waveform: Tensor, return_attention: bool = False) -> Encoded:
        """Frames [B, T, 3, H, W] in 0–1 and waveform [B, C, S] in −1..1 → tokens [B, N, D] and attention."""
        tokens, attention = self.encoder(self.embed(frames, waveform), return_attention)
        return Encoded(tokens, attention)

    def forward(self, frames: Tensor, waveform: Tensor) -> Tensor:
        return self.encode(frames, waveform).tokens

    def _positions(self) -> Tensor:
        """[1, 1 + T·h·w + f·t, D]"""
        if self.frame_positions is None:
            return self.positions
        layout = self.tokens
        first, space, sound = torch.tensor_split(self.positions, (1, layout.visual_of(0).stop), dim=1)
        visual = (space[:, None] + self.frame_positions[:, :, None]).flatten(1, 2)
        if layout.frame_of_time is not None:
            moments = self.frame_positions[:, list(layout.frame_of_time)]  # [1, t, D]
            sound = (sound.reshape(1, *layout.audio_grid, -1) + moments[:, None]).flatten(1, 2)
        return torch.cat([first, visual, sound], dim=1)


def _aligned_frames(settings: GavtSettings, features: FeatureSettings, times: int) -> tuple[int, ...] | None:
    """For each of so many times of the audio grid the frame nearest to its middle; None where none are aligned."""
    if settings.audio_alignment == "whole":
        return None
    sound_s = features.audio_samples / features.audio_rate_hz
    shown = FrameTimes(features.frames, features.frame_rate_hz, sound_s)
    return tuple(shown.nearest(((time + 0.5) / times - 0.5) * sound_s) for time in range(times))
