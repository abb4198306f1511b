"""ConvNeXts of torchvision at stride 16."""

from functools import partial

import torchvision
from torch import Tensor, nn
from torchvision.models.convnext import CNBlock, LayerNorm2d

from pipeline.models.dropout import drop_path
from pipeline.models.pretrained import Pretrained
from pipeline.models.receptive_field import UnevenConvolution
from pipeline.models.recompute import Stages
from pipeline.models.settings import ConvNextEmbedderSettings

_LAYER_SCALE = 1e-6
_NORM_EPSILON = 1e-6


class ConvNextEmbedder(Pretrained):
    """A ConvNeXt without its classifier, at stride 16, then layer norm and a 1×1 convolution."""

    def __init__(self, settings: ConvNextEmbedderSettings, channels: int, width: int, last_stage: bool) -> None:
        super().__init__(settings.architecture, settings.weights)
        network = getattr(torchvision.models, settings.architecture)(
            weights=None,
            stochastic_depth_prob=settings.drop_path,
            layer_scale=_LAYER_SCALE,
            block=partial(_Block, settings.drop_path),
        )
        # stem, then stages with a downsampling before each but the first
        parts = list(network.features) if last_stage else list(network.features)[:6]
        first = parts[0][0]
        parts[0][0] = nn.Conv2d(channels, first.out_channels, first.kernel_size, first.stride)
        if last_stage:
            # height and width are kept: by one row and column more before the last stage, or before the third
            centred = settings.padding == "centred"
            parts[6][1] = UnevenConvolution(parts[6][1], stride=1, before=0, behind=0 if centred else 1)
            if centred:
                parts[4][1] = UnevenConvolution(parts[4][1], stride=2, before=1, behind=1)
        stages: list[nn.Module] = []
        self.torchvision_prefixes = {}
        for number, part in enumerate(parts):
            is_stage = isinstance(part[0], CNBlock)
            for place, block in enumerate(part if is_stage else [part]):
                source = f"features.{number}.{place}" if is_stage else f"features.{number}"
                self.torchvision_prefixes[f"features.{len(stages)}"] = source
                stages.append(block)
        self.features = Stages(stages)
        depth = network.classifier[0].normalized_shape[0] // (1 if last_stage else 2)
        self.norm = LayerNorm2d(depth, eps=_NORM_EPSILON)
        if last_stage:
            self.torchvision_prefixes["norm"] = "classifier.0"
        self.project = nn.Conv2d(depth, width, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(self.norm(self.features(image)))  # type: ignore[no-any-return]  # a module's call is Any


class _Block(CNBlock):  # type: ignore[misc]  # torchvision is untyped
    """A block that can be initialised anew, and that compiles as the others of its stage do."""

    def __init__(self, most_dropped: float, channels: int, layer_scale: float, drop_rate: float) -> None:
        super().__init__(channels, layer_scale, drop_rate)
        self.stochastic_depth = drop_path(drop_rate, most_dropped)

    def reset_parameters(self) -> None:
        nn.init.constant_(self.layer_scale, _LAYER_SCALE)
