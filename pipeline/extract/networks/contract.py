"""What a network whose features are stored is to the rest."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.features.frame_times import FrameTimes
from pipeline.features.settings import Geometry
from pipeline.models.contract import Inputs
from pipeline.samples.metadata import SampleMetadata
from pipeline.stream.fields.contract import FieldSpec
from pipeline.stream.fields.frames import FramesField

_ROUNDING_S = 1e-3
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours, which torchvision's networks are trained on."""


@dataclass(frozen=True)
class Moments:
    """When a sample is looked at: equal parts of it, in the middle of which its pictures are taken. A part is a segment
    of layout `segments`, a second of a `clip`, and the second around the picture of a `frame`.

    Attributes:
        count: T.
        each_s: length of a part in seconds.
    """

    count: int
    each_s: float

    @classmethod
    def of(cls, metadata: SampleMetadata) -> "Moments":
        """As a sample suggests them."""
        length_s = metadata.audio_samples / metadata.audio_rate_hz if metadata.audio_rate_hz else 0.0
        if metadata.layout == "segments":
            count = len(metadata.frame_times_s)
            return cls(count, round(length_s / max(1, count), 3) or 1.0)
        return cls(1 if metadata.layout == "frame" else max(1, int(length_s + _ROUNDING_S)), 1.0)

    @property
    def times(self) -> FrameTimes:
        """When pictures are shown."""
        return FrameTimes(self.count, 1 / self.each_s, self.count * self.each_s)


class Network(ABC):
    """A frozen network, and what of a sample it looks at.

    Attributes:
        fields: what samples are decoded into for it.
        module: its weights lie in it.
    """

    fields: tuple[FieldSpec, ...]
    module: nn.Module

    @abstractmethod
    def __call__(self, inputs: Inputs) -> Mapping[str, Tensor]:
        """Features by name, [B, …] each, of a batch of the fields."""

    def weights_sha256(self) -> str:
        """A hash of all weights and averages by name: the same weights, whatever file they came in."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


class PictureNetwork(Network):
    """A network that sees one picture at a time: maps [B, T, h, w, D], or tokens [B, T, N, D], called `visual`.

    Args:
        module: pictures [N, 3, size, size], their colours normalised, → [N, D, h, w], or tokens [N, n, D].
        size: side of the square that it sees.
    """

    def __init__(
        self,
        module: nn.Module,
        moments: Moments,
        geometry: Geometry,
        size: int = 224,
        mean: tuple[float, ...] = MEAN,
        deviation: tuple[float, ...] = DEVIATION,
    ) -> None:
        self.module = module
        self._field = FramesField(f"frames of {size}, {geometry}", moments.times, size, size, geometry)
        self.fields = (self._field,)
        device = next(module.parameters()).device
        self._mean, self._deviation = (torch.tensor(one, device=device).view(3, 1, 1) for one in (mean, deviation))

    def __call__(self, inputs: Inputs) -> Mapping[str, Tensor]:
        frames = inputs[self._field.name]
        found = self.module(((frames - self._mean) / self._deviation).flatten(0, 1))
        if found.dim() == 4:
            found = found.permute(0, 2, 3, 1)
        return {"visual": found.reshape(*frames.shape[:2], *found.shape[1:])}
