"""What features are made, of which samples, and how they are stored."""

from typing import Literal

from pydantic import Field

from pipeline.features.settings import Geometry
from pipeline.models.pooling import Stage
from pipeline.settings.base import Settings

NETWORKS = ("vgg19", "vggish", "resnet18", "resnet50", "resnet101")
TIMM = "timm/"


class ModelChoice(Settings):
    """A network whose features are stored."""

    model: str
    """`vgg19`, `vggish`, `resnet18`, `resnet50`, `resnet101`, `timm/NAME`, or a run folder, checkpoint or export."""
    name: str | None = None
    """What its member is called instead of `visual` or `audio`; of a trained model what stands before
    `fused.visual`."""
    weights: str | None = None
    """A file of its weights, or the name of those that are fetched."""

    @property
    def is_checkpoint(self) -> bool:
        """Whether gavt trained it."""
        return self.model not in NETWORKS and not self.model.startswith(TIMM)


class ExtractSettings(Settings):
    """Settings of `gavt features`; all of them decide what comes out."""

    models: tuple[ModelChoice, ...] = Field(min_length=1)
    """Networks whose features lie side by side in each sample."""
    pca: str | None = None
    """A file of VGGish's PCA: features become 0–255 as in AudioSet."""
    random_weights: bool = False
    """Networks without weights, as they are initialised from `seed`."""
    seed: int = 0
    """Draws the weights of `random_weights`."""
    keep_media: bool = False
    """Pictures and sound stay in the samples, beside the features; else only what is stored already does."""
    seconds: int | None = Field(default=None, ge=1)
    """Of clips, how many seconds around their middle; null are as many whole ones as the first sample has."""
    geometry: Geometry | None = None
    """How a picture becomes a square; null squashes the whole picture, for a trained model the square of its middle."""
    stage: Stage = "fused"
    """Of trained models: tokens as they are embedded, gone through the encoder alone, or together."""
    means: bool = False
    """Of trained models: the mean over the tokens of each stream instead of the tokens."""
    by_part: bool = False
    """Of trained models that see one frame: each segment of a sample, or second of a clip, by itself, as networks of
    pictures are shown them; `visual` has the places of each frame, `audio` a mean of each part."""
    dtype: Literal["float16", "float32"] = "float16"
    """That features are stored in."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """That networks compute in."""
    batch: int = Field(default=8, ge=1)
    """Samples that are computed together: it decides the last bits."""
