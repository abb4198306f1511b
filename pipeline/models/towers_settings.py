"""Settings of a model of two embedders."""

from typing import Literal

from pydantic import Field

from pipeline.features.settings import FeatureSettings
from pipeline.models.settings import ConvolutionEmbedderSettings, Embedder, ModelSettings, reason_against_strides


class TowersSettings(ModelSettings):
    """Two embedders side by side, without a transformer."""

    kind: Literal["towers"] = "towers"
    width: int = Field(default=128, gt=0)
    """Of all tokens, to which each embedder projects its own."""
    visual_embedder: Embedder = ConvolutionEmbedderSettings()
    """What makes tokens of frames."""
    audio_embedder: Embedder = ConvolutionEmbedderSettings()
    """What makes tokens of log-frequency spectrograms."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Frames and sound."""
        return ("frames", "sound")

    @property
    def streams(self) -> tuple[str, ...]:
        """What is seen and what is heard."""
        return ("visual", "audio")

    @property
    def sees_images(self) -> bool:
        """Frames and spectrograms."""
        return True

    def reason_against(self, features: FeatureSettings) -> str | None:
        """Inputs are cut into whole tokens."""
        return reason_against_strides(self.visual_embedder, self.audio_embedder, features)
