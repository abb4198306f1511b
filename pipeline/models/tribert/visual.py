"""Visual tokens: what a segmentation network finds in a frame (paper 001, Figure 2, Eq. 1–2)."""

import torch
from torch import Tensor, nn

from pipeline.models.dropout import Dropout
from pipeline.models.embedders.convolution import ConvolutionEmbedder
from pipeline.models.settings import ConvolutionEmbedderSettings
from pipeline.models.tribert.settings import TribertSettings

_LEAST = 1e-6
"""Stands in for the sum of a map that is 0 everywhere."""


class SegmentationNetwork(nn.Module):
    """Features of a frame, maps of classes over them, and the features where the surest classes are.

    A class's map is the product of its expansive attention, over the whole object, and its discriminative attention,
    over what tells it apart; the map's mean is how sure the class is. A token is the mean of the features times
    the map.
    """

    def __init__(self, settings: TribertSettings) -> None:
        super().__init__()
        self.objects, self.over_space = settings.objects, settings.expansive == "space"
        width, classes = settings.visual_width, settings.classes
        self.features = _features(settings)
        self.dropout = Dropout(settings.segmentation_dropout)
        self.expansive = nn.Conv2d(width, classes, 1)
        self.expansive_classes = None if self.over_space else nn.Conv2d(classes, classes, 1)
        self.discriminative = nn.Conv2d(width, classes, 1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames [N, 3, H, W] → tokens [N, objects, D], the surest first, and the maps [N, classes, h, w] in a scale
        in which a map's mean is a weighted mean of its discriminative attention."""
        features = self.features(frames)
        maps = self.class_maps(features)
        surest = maps.mean((2, 3)).topk(self.objects).indices
        chosen = maps.gather(1, surest[..., None, None].expand(-1, -1, *maps.shape[2:]))
        cells = maps[0, 0].numel()
        tokens = torch.einsum("nohw,ndhw->nod", chosen, features) / cells
        return tokens, maps * cells if self.over_space else maps

    def class_maps(self, features: Tensor) -> Tensor:
        """Of features [N, D, h, w], [N, classes, h, w]."""
        expansive = self.dropout(self.expansive(self.dropout(features))).relu()
        if self.expansive_classes is None:
            expansive = expansive / expansive.sum((2, 3), keepdim=True).clamp(min=_LEAST)
        else:
            expansive = self.expansive_classes(expansive).relu().softmax(1)
        maps: Tensor = expansive * self.discriminative(features)
        return maps


def _features(settings: TribertSettings) -> nn.Module:
    """An embedder whose last convolution is 3×3."""
    own, width = settings.visual_embedder, settings.visual_width
    embedder: nn.Module
    if isinstance(own, ConvolutionEmbedderSettings):
        embedder = ConvolutionEmbedder(own, 3, width)
    else:
        from pipeline.models.embedders.resnet import ResNetEmbedder  # with torchvision, whose import takes long

        embedder = ResNetEmbedder(own, 3, width, last_stage=True, last_stride=2)
    last = embedder.get_submodule("project")
    assert isinstance(last, nn.Conv2d)
    embedder.project = nn.Conv2d(last.in_channels, width, 3, padding=1)
    return embedder
