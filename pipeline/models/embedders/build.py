"""The embedder that settings ask for."""

from torch import nn

from pipeline.models.embedders.convnext import ConvNextEmbedder
from pipeline.models.embedders.convolution import ConvolutionEmbedder
from pipeline.models.embedders.patch import PatchEmbedder
from pipeline.models.embedders.resnet import ResNetEmbedder
from pipeline.models.embedders.vit import VitEmbedder
from pipeline.models.settings import (
    ConvNextEmbedderSettings,
    ConvolutionEmbedderSettings,
    Embedder,
    PatchEmbedderSettings,
    ResNetEmbedderSettings,
)


def build_embedder(
    settings: Embedder, channels: int, size: tuple[int, int], width: int, audio: bool
) -> tuple[nn.Module, tuple[int, int]]:
    """The embedder of one modality, and the rows and columns of tokens that it gives.

    Args:
        channels: of the input.
        size: height and width of the input, in pixels or spectrogram cells.
        width: D of its features [B, D, h, w].

    Raises:
        ValueError: the input's sides are no multiples of the embedder's stride.
    """
    if isinstance(settings, PatchEmbedderSettings):
        return PatchEmbedder(settings, channels, width), _grid(settings.patch, size)
    if isinstance(settings, ConvolutionEmbedderSettings):
        return ConvolutionEmbedder(settings, channels, width), _grid(2 ** (len(settings.widths) - 1), size)
    if isinstance(settings, ResNetEmbedderSettings):
        return ResNetEmbedder(settings, channels, width, last_stage=not audio), _grid(16, size)
    if isinstance(settings, ConvNextEmbedderSettings):
        return ConvNextEmbedder(settings, channels, width, last_stage=not audio), _grid(16, size)
    grid = _grid(settings.patch, size)
    return VitEmbedder(settings, channels, grid, width), grid


def _grid(stride: int, size: tuple[int, int]) -> tuple[int, int]:
    height, width = size
    if height % stride or width % stride:
        raise ValueError(f"expected an input whose sides are multiples of {stride}, found {height}×{width}")
    return height // stride, width // stride
