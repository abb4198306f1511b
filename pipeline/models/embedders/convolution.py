"""A few convolutions."""

from torch import Tensor, nn

from pipeline.models.norms import norm_layer
from pipeline.models.recompute import Stages
from pipeline.models.settings import ConvolutionEmbedderSettings


class ConvolutionEmbedder(nn.Module):
    """3×3 convolutions with norm and GELU; all but the last halve the resolution; then a 1×1 convolution."""

    def __init__(self, settings: ConvolutionEmbedderSettings, channels: int, width: int) -> None:
        super().__init__()
        norm = norm_layer(settings.norm)
        stages: list[nn.Module] = []
        for index, out in enumerate(settings.widths):
            stride = 1 if index == len(settings.widths) - 1 else 2
            stages.append(nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), norm(out), nn.GELU()))
            channels = out
        self.features = Stages(stages)
        self.project = nn.Conv2d(channels, width, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(self.features(image))  # type: ignore[no-any-return]  # torch types a module's call as Any
