"""Patches, projected linearly."""

from torch import Tensor, nn

from pipeline.models.settings import PatchEmbedderSettings


class PatchEmbedder(nn.Module):
    """Non-overlapping patches with one linear projection."""

    def __init__(self, settings: PatchEmbedderSettings, channels: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, settings.patch, settings.patch)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(image)  # type: ignore[no-any-return]  # torch types a module's call as Any
