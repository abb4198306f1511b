"""Settings of the G-AVT (G-AVT thesis, section 3.1 and Table 2)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.settings.base import Settings

Norm = Literal["batch", "group"]


class PatchEmbedderSettings(Settings):
    """Non-overlapping patches, each projected linearly (ViT)."""

    kind: Literal["patch"] = "patch"
    patch: int = Field(default=16, ge=1)
    """Height and width of a patch, in pixels or spectrogram cells."""


class ResNet18EmbedderSettings(Settings):
    """ResNet-18 features at stride 16 and a 1×1 convolution to the width of the encoder (Figure 2).

    The visual embedder keeps all four stages, the last without its stride, so that a 128² frame gives 8×8 tokens; the
    audio embedder skips the last stage, so that a 256² spectrogram gives 16×16.
    """

    kind: Literal["resnet18"] = "resnet18"
    norm: Norm = "batch"
    """`batch` is the paper's; its statistics depend on the micro-batch. `group` gives the same values for any batch."""


class ConvolutionEmbedderSettings(Settings):
    """A few 3×3 convolutions with stride 2, for small frames."""

    kind: Literal["convolution"] = "convolution"
    widths: tuple[int, ...] = Field(default=(32, 64, 128, 128), min_length=1)
    """Channels after each convolution; all but the last have stride 2."""
    norm: Norm = "batch"


Embedder = Annotated[
    PatchEmbedderSettings | ResNet18EmbedderSettings | ConvolutionEmbedderSettings, Field(discriminator="kind")
]


class GavtSettings(Settings):
    """The General Audio-Visual Transformer. The defaults are version c of Table 2."""

    kind: Literal["gavt"] = "gavt"
    visual_embedder: Embedder = ResNet18EmbedderSettings()
    audio_embedder: Embedder = ResNet18EmbedderSettings()
    width: int = Field(default=512, gt=0)
    """Embedding dimension of all tokens."""
    feed_forward: int = Field(default=1024, gt=0)
    """Width of the hidden layer of the feed-forward network ("hidden dim" of Table 2)."""
    layers: int = Field(default=2, gt=0)
    heads: int = Field(default=16, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    norm_first: bool = False
    """Layer norm before attention and feed-forward (pre-norm) instead of behind them (BERT, the paper)."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "GavtSettings":
        if self.width % self.heads:
            raise ValueError(f"a number of heads that divides width {self.width}, found heads = {self.heads}")
        return self
