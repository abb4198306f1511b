"""A few convolutions."""

from torch import Tensor, nn

from pipeline.models.norms import norm_layer
from pipeline.models.receptive_field import UnevenConvolution
from pipeline.models.recompute import Stages
from pipeline.models.settings import ConvolutionEmbedderSettings


class ConvolutionEmbedder(nn.Module):
    """Convolutions with norm and GELU; all but the last halve the resolution; then a 1×1 convolution."""

    def __init__(self, settings: ConvolutionEmbedderSettings, channels: int, width: int) -> None:
        super().__init__()
        norm = norm_layer(settings.norm)
        stages: list[nn.Module] = []
        for index, out in enumerate(settings.widths):
            last = index == len(settings.widths) - 1
            kernel, stride = (settings.last_kernel, 1) if last else (settings.kernel, 2)
            convolution = nn.Conv2d(channels, out, kernel, stride, (kernel - 1) // 2, bias=False)
            if settings.padding == "centred" and index == len(settings.widths) - 2:
                convolution = UnevenConvolution(convolution, stride, before=0, behind=1)
            stages.append(nn.Sequential(convolution, norm(out), nn.GELU()))
            channels = out
        self.features = Stages(stages)
        self.project = nn.Conv2d(channels, width, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(self.features(image))  # type: ignore[no-any-return]  # torch types a module's call as Any
