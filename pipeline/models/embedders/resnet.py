"""ResNets at stride 16: torchvision's, under its names, without the seconds that its import takes."""

from collections.abc import Callable

from torch import Tensor, nn

from pipeline.models.norms import norm_layer
from pipeline.models.pretrained import Pretrained
from pipeline.models.receptive_field import UnevenConvolution
from pipeline.models.recompute import Stages
from pipeline.models.settings import ResNetEmbedderSettings

_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
"""Blocks of each stage (He et al. 2016, Table 1)."""
_STEM = 64


class ResNetEmbedder(Pretrained):
    """A ResNet without its last pooling, at stride 16, then a 1×1 convolution (Figure 2 of the G-AVT thesis)."""

    def __init__(
        self, settings: ResNetEmbedderSettings, channels: int, width: int, last_stage: bool, last_stride: int = 1
    ) -> None:
        """`last_stride` is that of the last stage, which torchvision's networks have as 2."""
        super().__init__(settings.architecture, settings.weights)
        norm, wide = norm_layer(settings.norm), settings.kind != "resnet18"
        stem = nn.Conv2d(channels, _STEM, 7, 2, 3, bias=False), norm(_STEM), nn.ReLU(inplace=True)
        stages: list[nn.Module] = [nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1))]
        self.torchvision_prefixes = {"features.0.0": "conv1", "features.0.1": "bn1"}
        into, strides = _STEM, (1, 2, 2, last_stride)
        for number in (0, 1, 2, 3) if last_stage else (0, 1, 2):
            for place in range(_BLOCKS[settings.kind][number]):
                block = ResidualBlock(into, _STEM << number, strides[number] if place == 0 else 1, wide, norm)
                if settings.padding == "centred" and (number, place) == (2, 0):
                    block.pad_behind()
                self.torchvision_prefixes[f"features.{len(stages)}"] = f"layer{number + 1}.{place}"
                stages.append(block)
                into = block.channels
        self.features = Stages(stages)
        self.project = nn.Conv2d(into, width, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(self.features(image))  # type: ignore[no-any-return]  # torch types a module's call as Any


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, or a 3×3 between two of 1×1, with the input added to what they give.

    Attributes:
        channels: that it gives.
    """

    def __init__(self, into: int, width: int, stride: int, wide: bool, norm: Callable[[int], nn.Module]) -> None:
        """
        Args:
            into: channels of the input.
            width: channels of the 3×3 convolutions.
            wide: four times as many come out, by 1×1 convolutions around the one of 3×3, which has the stride.
        """
        super().__init__()
        self.channels = 4 * width if wide else width
        sides = (1, 3, 1) if wide else (3, 3)
        self._depth, self._strided = len(sides), 2 if wide else 1
        for number, side in enumerate(sides, 1):
            out = self.channels if number == self._depth else width
            step = stride if number == self._strided else 1
            source = into if number == 1 else width
            self.add_module(f"conv{number}", nn.Conv2d(source, out, side, step, side // 2, bias=False))
            self.add_module(f"bn{number}", norm(out))
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or into != self.channels:
            self.downsample = nn.Sequential(nn.Conv2d(into, self.channels, 1, stride, bias=False), norm(self.channels))

    def forward(self, input: Tensor) -> Tensor:
        output = input
        for number in range(1, self._depth + 1):
            output = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(output))
            if number < self._depth:
                output = self.relu(output)
        output += input if self.downsample is None else self.downsample(input)
        return self.relu(output)  # type: ignore[no-any-return]  # torch types a module's call as Any

    def pad_behind(self) -> None:
        """Have a block of stride 2, inputs of an even length, look around input 2 r + 1 instead of 2 r."""
        assert self.downsample is not None
        name = f"conv{self._strided}"
        setattr(self, name, UnevenConvolution(getattr(self, name), stride=2, before=0, behind=1))
        shortcut = self.downsample[0]
        assert isinstance(shortcut, nn.Conv2d)
        self.downsample[0] = UnevenConvolution(shortcut, stride=2, before=-1, behind=0)
