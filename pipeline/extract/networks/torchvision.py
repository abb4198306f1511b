"""VGG-19 and ResNets of torchvision without their classifiers."""

import torchvision
from torch import Tensor, nn

from pipeline.models.norms import norm_layer
from pipeline.models.pretrained import Pretrained


class VGG19(Pretrained):
    """Pictures [N, 3, 224, 224] → `pool5` [N, 512, 7, 7] of VGG-19 (Simonyan & Zisserman 2015), which papers 002 and
    004 and AVE's published features take of each second."""

    def __init__(self, weights: str | None) -> None:
        super().__init__("vgg19", weights)
        self.features = torchvision.models.vgg19(weights=None).features
        self.torchvision_prefixes = {"features": "features"}

    def forward(self, pictures: Tensor) -> Tensor:
        return self.features(pictures)  # type: ignore[no-any-return]  # torch types a module's call as Any


class ResNet(Pretrained):
    """Pictures [N, 3, 224, 224] → the last stage's maps [N, D, 7, 7]: D is 512 of `resnet18`, else 2 048."""

    def __init__(self, architecture: str, weights: str | None) -> None:
        super().__init__(architecture, weights)
        resnet = getattr(torchvision.models, architecture)(weights=None, norm_layer=norm_layer("frozen"))
        parts = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
        self.stages = nn.ModuleDict({name: getattr(resnet, name) for name in parts})
        self.torchvision_prefixes = {f"stages.{name}": name for name in parts}

    def forward(self, pictures: Tensor) -> Tensor:
        for stage in self.stages.values():
            pictures = stage(pictures)
        return pictures
