"""ResNets of torchvision at stride 16."""

import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from pipeline.models.norms import norm_layer
from pipeline.models.pretrained import Pretrained
from pipeline.models.receptive_field import UnevenConvolution
from pipeline.models.recompute import Stages
from pipeline.models.settings import ResNetEmbedderSettings


class ResNetEmbedder(Pretrained):
    """A ResNet without its last pooling, at stride 16, then a 1×1 convolution (Figure 2 of the G-AVT thesis)."""

    def __init__(
        self, settings: ResNetEmbedderSettings, channels: int, width: int, last_stage: bool, last_stride: int = 1
    ) -> None:
        """`last_stride` is that of the last stage, which torchvision's networks have as 2."""
        super().__init__(settings.architecture, settings.weights)
        resnet = getattr(torchvision.models, settings.kind)(weights=None, norm_layer=norm_layer(settings.norm))
        stem = nn.Sequential(nn.Conv2d(channels, 64, 7, 2, 3, bias=False), resnet.bn1, resnet.relu, resnet.maxpool)
        stages: list[nn.Module] = [stem]
        self.torchvision_prefixes = {"features.0.0": "conv1", "features.0.1": "bn1"}
        for number in (1, 2, 3, 4) if last_stage else (1, 2, 3):
            for place, block in enumerate(getattr(resnet, f"layer{number}")):
                self.torchvision_prefixes[f"features.{len(stages)}"] = f"layer{number}.{place}"
                stages.append(block)
        if last_stage:
            first = resnet.layer4[0]
            getattr(first, _strided(first)).stride = first.downsample[0].stride = (last_stride, last_stride)
        if settings.padding == "centred":
            _pad_behind(resnet.layer3[0])
        self.features = Stages(stages)
        self.project = nn.Conv2d(resnet.fc.in_features // (1 if last_stage else 2), width, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(self.features(image))  # type: ignore[no-any-return]  # torch types a module's call as Any


def _strided(block: BasicBlock | Bottleneck) -> str:
    """Name of the convolution of a block's own path that has its stride."""
    return "conv1" if isinstance(block, BasicBlock) else "conv2"


def _pad_behind(block: BasicBlock | Bottleneck) -> None:
    """Have a block of stride 2, inputs of an even length, look around input 2 r + 1 instead of 2 r."""
    name = _strided(block)
    setattr(block, name, UnevenConvolution(getattr(block, name), stride=2, before=0, behind=1))
    block.downsample[0] = UnevenConvolution(block.downsample[0], stride=2, before=-1, behind=0)
