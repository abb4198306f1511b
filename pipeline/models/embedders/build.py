"""The embedder that settings ask for."""

from torch import nn

from pipeline.models.embedders.convolution import ConvolutionEmbedder
from pipeline.models.embedders.patch import PatchEmbedder
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
        size: height and width of the input, in pixels or spectrogram cells: multiples of the embedder's stride.
        width: D of its features [B, D, h, w].
    """
    height, side = size
    grid = (height // settings.stride, side // settings.stride)
    if isinstance(settings, PatchEmbedderSettings):
        return PatchEmbedder(settings, channels, width), grid
    if isinstance(settings, ConvolutionEmbedderSettings):
        return ConvolutionEmbedder(settings, channels, width), grid
    # the others need torchvision, whose import takes longer than all else together
    if isinstance(settings, ResNetEmbedderSettings):
        from pipeline.models.embedders.resnet import ResNetEmbedder

        return ResNetEmbedder(settings, channels, width, last_stage=not audio), grid
    if isinstance(settings, ConvNextEmbedderSettings):
        from pipeline.models.embedders.convnext import ConvNextEmbedder

        return ConvNextEmbedder(settings, channels, width, last_stage=not audio), grid
    from pipeline.models.embedders.vit import VitEmbedder

    return VitEmbedder(settings, channels, grid, width), grid
