"""Embedders: an image-like input [B, C, H, W] → a grid of features [B, D, h, w]."""

import torchvision
from torch import Tensor, nn

from pipeline.features.float32 import BatchNorm2d
from pipeline.models.settings import (
    ConvolutionEmbedderSettings,
    Embedder,
    PatchEmbedderSettings,
    ResNet18EmbedderSettings,
)

_GROUPS = 8


class PatchEmbedder(nn.Module):
    """Non-overlapping patches with one linear projection."""

    def __init__(self, settings: PatchEmbedderSettings, channels: int, width: int) -> None:
        super().__init__()
        self.stride = settings.patch
        self.project = nn.Conv2d(channels, width, settings.patch, settings.patch)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(image)  # type: ignore[no-any-return]  # torch types a module's call as Any


class ResNet18Embedder(nn.Module):
    """ResNet-18 without its last pooling, at stride 16, then a 1×1 convolution (Figure 2 of the G-AVT thesis)."""

    stride = 16

    def __init__(self, settings: ResNet18EmbedderSettings, channels: int, width: int, last_stage: bool) -> None:
        super().__init__()
        norm = BatchNorm2d if settings.norm == "batch" else _group_norm
        resnet = torchvision.models.resnet18(weights=None, norm_layer=norm)
        stem = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        stages = [stem, resnet.bn1, resnet.relu, resnet.maxpool, resnet.layer1, resnet.layer2, resnet.layer3]
        if last_stage:
            first = resnet.layer4[0]
            first.conv1.stride = first.downsample[0].stride = (1, 1)
            stages.append(resnet.layer4)
        self.features = nn.Sequential(*stages)
        self.project = nn.Conv2d(512 if last_stage else 256, width, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(self.features(image))  # type: ignore[no-any-return]  # as above


class ConvolutionEmbedder(nn.Module):
    """3×3 convolutions with norm and GELU; all but the last halve the resolution; then a 1×1 convolution."""

    def __init__(self, settings: ConvolutionEmbedderSettings, channels: int, width: int) -> None:
        super().__init__()
        self.stride = 2 ** (len(settings.widths) - 1)
        layers: list[nn.Module] = []
        for index, out in enumerate(settings.widths):
            last = index == len(settings.widths) - 1
            layers.append(nn.Conv2d(channels, out, 3, 1 if last else 2, 1, bias=False))
            layers.append(BatchNorm2d(out) if settings.norm == "batch" else _group_norm(out))
            layers.append(nn.GELU())
            channels = out
        self.features = nn.Sequential(*layers)
        self.project = nn.Conv2d(channels, width, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(self.features(image))  # type: ignore[no-any-return]  # as above


def build_embedder(settings: Embedder, channels: int, width: int, audio: bool) -> nn.Module:
    """The embedder of one modality; its attribute `stride` is the input cells a token covers, each way."""
    if isinstance(settings, PatchEmbedderSettings):
        return PatchEmbedder(settings, channels, width)
    if isinstance(settings, ResNet18EmbedderSettings):
        return ResNet18Embedder(settings, channels, width, last_stage=not audio)
    return ConvolutionEmbedder(settings, channels, width)


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels)
