"""The General Audio-Visual Transformer (G-AVT thesis, section 3.1, Figure 1, Table 2)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import SettingsError
from pipeline.features.float32 import Float32Buffers
from pipeline.features.settings import FeatureSettings
from pipeline.features.spectrogram import LogFrequencySpectrogram
from pipeline.models.embedders import build_embedder
from pipeline.models.encoder import Encoder
from pipeline.models.settings import GavtSettings

_IMAGE_MEAN = (0.485, 0.456, 0.406)
_IMAGE_DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TokenLayout:
    """Where each token of the fused sequence comes from: class token, visual tokens row by row, audio tokens."""

    visual_grid: tuple[int, int]
    """Rows and columns of visual tokens."""
    audio_grid: tuple[int, int]
    """Frequencies and times of audio tokens."""

    class_token = slice(0, 1)

    @property
    def visual(self) -> slice:
        return slice(1, 1 + self.visual_grid[0] * self.visual_grid[1])

    @property
    def audio(self) -> slice:
        return slice(self.visual.stop, self.count)

    @property
    def count(self) -> int:
        """Tokens in all."""
        return 1 + self.visual_grid[0] * self.visual_grid[1] + self.audio_grid[0] * self.audio_grid[1]


@dataclass(frozen=True)
class Encoded:
    """What the encoder gives: tokens [B, N, D], and on request its attention, a list over layers of
    [B, heads, N, N] (rows are queries)."""

    tokens: Tensor
    attention: list[Tensor] | None


class Gavt(Float32Buffers):
    """Two embedders, learned positions, a class token and one encoder over the tokens of both modalities."""

    def __init__(self, settings: GavtSettings, features: FeatureSettings) -> None:
        super().__init__()
        if features.frames != 1:
            raise SettingsError(f"features.frames: G-AVT looks at 1 frame a sound, found {features.frames}")
        self.settings = settings
        self.spectrogram = LogFrequencySpectrogram(features)
        self.visual_embedder = build_embedder(settings.visual_embedder, 3, settings.width, audio=False)
        self.audio_embedder = build_embedder(settings.audio_embedder, 1, settings.width, audio=True)
        self.tokens = TokenLayout(
            visual_grid=_grid(self.visual_embedder, features.frame_size, features.frame_size),
            audio_grid=_grid(self.audio_embedder, features.frequency_bins, features.time_frames),
        )
        self.class_token = nn.Parameter(torch.empty(1, 1, settings.width))
        self.positions = nn.Parameter(torch.empty(1, self.tokens.count, settings.width))
        self.embedding_norm = nn.LayerNorm(settings.width)
        self.embedding_dropout = nn.Dropout(settings.dropout)
        self.encoder = Encoder(
            settings.layers,
            settings.width,
            settings.feed_forward,
            settings.heads,
            settings.dropout,
            settings.norm_first,
        )
        self.register_buffer("image_mean", torch.empty(3, 1, 1), persistent=False)
        self.register_buffer("image_deviation", torch.empty(3, 1, 1), persistent=False)

    image_mean: Tensor
    image_deviation: Tensor

    def reset_parameters(self) -> None:
        """Initialise what this module itself owns; its children do the same for theirs."""
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.image_mean.copy_(torch.tensor(_IMAGE_MEAN).view(3, 1, 1))
        self.image_deviation.copy_(torch.tensor(_IMAGE_DEVIATION).view(3, 1, 1))

    def embed_frames(self, frames: Tensor) -> Tensor:
        """Frames [B, 1, 3, H, W] in 0–1 → visual embeddings [B, h·w, D]."""
        images = ((frames[:, 0] - self.image_mean) / self.image_deviation).to(self.positions.dtype)
        embedded: Tensor = self.visual_embedder(images)
        return embedded.flatten(2).transpose(1, 2)

    def embed_sound(self, waveform: Tensor) -> Tensor:
        """Waveform [B, C, S] in −1..1 → audio embeddings [B, f·t, D]; channels are averaged."""
        spectrogram = self.spectrogram(waveform.mean(1, keepdim=True)).to(self.positions.dtype)
        embedded: Tensor = self.audio_embedder(spectrogram)
        return embedded.flatten(2).transpose(1, 2)

    def fuse(self, visual: Tensor, audio: Tensor) -> Tensor:
        """Class token, visual and audio embeddings with their positions: the encoder's input [B, N, D]."""
        fused = torch.cat([self.class_token.expand(len(visual), -1, -1), visual, audio], dim=1) + self.positions
        return self.embedding_dropout(self.embedding_norm(fused))  # type: ignore[no-any-return]  # a module's call

    def embed(self, frames: Tensor, waveform: Tensor) -> Tensor:
        """Frames [B, 1, 3, H, W] in 0–1 and waveform [B, C, S] in −1..1 → the encoder's input [B, N, D]."""
        return self.fuse(self.embed_frames(frames), self.embed_sound(waveform))

    def encode(self, frames: Tensor, waveform: Tensor, return_attention: bool = False) -> Encoded:
        """Frames [B, 1, 3, H, W] in 0–1 and waveform [B, C, S] in −1..1 → tokens [B, N, D] and attention."""
        tokens, attention = self.encoder(self.embed(frames, waveform), return_attention)
        return Encoded(tokens, attention)

    def forward(self, frames: Tensor, waveform: Tensor) -> Tensor:
        return self.encode(frames, waveform).tokens


def _grid(embedder: nn.Module, height: int, width: int) -> tuple[int, int]:
    stride = int(embedder.stride)  # type: ignore[arg-type]  # torch types a module's attributes as Tensor | Module
    if height % stride or width % stride:
        raise ValueError(f"expected an input whose sides are multiples of {stride}, found {height}×{width}")
    return height // stride, width // stride
