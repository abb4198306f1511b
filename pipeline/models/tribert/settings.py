"""Settings of TriBERT (paper 001, section 3.2); the defaults are its sizes."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.features.settings import FeatureSettings
from pipeline.models.settings import ConvolutionEmbedderSettings, ModelSettings, Norm, ResNetEmbedderSettings
from pipeline.stream.fields.keypoints import KeypointsSettings

KEYPOINTS = "keypoints"
"""Name of the input of kind `keypoints` that the model takes."""
Widths = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]


class TribertSettings(ModelSettings):
    """Where the paper and its public code differ, both can be had."""

    kind: Literal["tribert"] = "tribert"
    visual_embedder: Annotated[ResNetEmbedderSettings | ConvolutionEmbedderSettings, Field(discriminator="kind")] = (
        ResNetEmbedderSettings(kind="resnet50")
    )
    """In front of a 3×3 convolution to `visual_width`. ResNets have stride 32 here: 7×7 cells of a 224² frame."""
    classes: int = Field(default=21, gt=0)
    """Maps of the segmentation network, of which those of the surest classes become tokens. Only an objective that asks
    them for labels gives them names (`task.maps_weight`)."""
    objects: int = Field(default=2, gt=0)
    """Classes a frame that become tokens."""
    expansive: Literal["space", "classes"] = "space"
    """Over what the expansive attention is normalised: `space`, so that each class's map adds up to 1 (the paper,
    Eq. 1–2); `classes`, by a softmax behind another convolution (its public code)."""
    segmentation_dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of the visual network's channels that is zeroed in training before its class maps."""
    graph_widths: Widths = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
    """Channels after each graph convolution over the keypoints (ST-GCN). Where they grow from one to the next, the
    number of steps is halved."""
    measured: Literal["person", "frame"] = "person"
    """How keypoints are measured. `frame`: from its middle, in its sides (ST-GCN). `person`: from the middle of the box
    around a person's points at all steps, in its longer side, so that how someone stands reads the same wherever and
    however large; the token is told the box besides. Of players that hold each instrument in its own way, 200 steps of
    the pose network alone told which instruments are there with a mAP of 1.00 by `person`, 0.42 by `frame`, where
    chance is 0.32."""
    sound_widths: Widths = (64, 128, 256, 256, 512, 512, 512)
    """Channels after each convolution over the spectrogram (VGGish), each of which halves both sides."""
    norm: Norm = "batch"
    """Of the graph convolutions; as of ResNets."""
    pose: bool = True
    """Whether there is a stream of poses; without it no keypoints are needed."""
    visual_width: int = Field(default=1024, gt=0)
    """Of visual tokens."""
    pose_width: int = Field(default=1024, gt=0)
    """Of tokens of poses."""
    audio_width: int = Field(default=512, gt=0)
    """Of audio tokens."""
    shared_width: int = Field(default=512, gt=0)
    """Of queries, keys and values when streams look at each other."""
    feed_forward: int = Field(default=1024, gt=0)
    """Width of the hidden layer of the feed-forward networks."""
    blocks: int = Field(default=6, gt=0)
    """Each lets the streams look at each other, then each at itself."""
    heads: int = Field(default=8, gt=0)
    """Heads of each attention; they must divide all widths."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of activations of the blocks that is zeroed in training."""
    join: Literal["tokens", "features"] = "tokens"
    """How a stream looks at the other two: `tokens` at all tokens of both, each by itself (the paper); `features` at
    one of each at a time, whose keys and values of half the width lie one behind the other (its public code)."""

    @model_validator(mode="after")
    def _heads_divide_widths(self) -> "TribertSettings":
        for name in ("visual_width", "pose_width", "audio_width", "shared_width"):
            if getattr(self, name) % self.heads:
                raise ValueError(f"a number of heads that divides {name} {getattr(self, name)}, found {self.heads}")
        if self.join == "features" and self.shared_width % (2 * self.heads):
            raise ValueError(
                f"shared_width in multiples of 2 · heads = {2 * self.heads} for join = features, "
                f"found {self.shared_width}"
            )
        return self

    @model_validator(mode="after")
    def _classes_suffice(self) -> "TribertSettings":
        if self.objects > self.classes:
            raise ValueError(f"objects of at most classes = {self.classes}, found {self.objects}")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """Frames, sound and, unless there is no stream of poses, keypoints."""
        return ("frames", "sound", *([KEYPOINTS] if self.pose else []))

    @property
    def streams(self) -> tuple[str, ...]:
        """What is seen, how persons stand, and what is heard."""
        return ("visual", *(["pose"] if self.pose else []), "audio")

    @property
    def class_maps(self) -> int:
        """Of the segmentation network."""
        return self.classes

    @property
    def visual_stride(self) -> int:
        """Pixels between two cells of the visual features."""
        return 32 if isinstance(self.visual_embedder, ResNetEmbedderSettings) else self.visual_embedder.stride

    @property
    def graph_strides(self) -> tuple[int, ...]:
        """Of each graph convolution, in steps."""
        widths = self.graph_widths
        return (1, *(2 if after > before else 1 for before, after in pairwise(widths)))

    def reason_against(self, features: FeatureSettings) -> str | None:
        """It needs keypoints of as many steps as its graph convolutions leave one of a frame, and inputs that its
        convolutions leave something of."""
        if self.pose and (lacking := self._lacking_keypoints(features)) is not None:
            return lacking
        if features.frame_size % self.visual_stride:
            return (
                f"features.frame_size in multiples of {self.visual_stride} for model.visual_embedder, "
                f"found {features.frame_size}"
            )
        side, least = min(features.frequency_bins, features.time_frames), 2 ** len(self.sound_widths)
        if side < least:
            return (
                f"features.frequency_bins and time frames (audio_samples // stft_hop + 1) of {least} or more for "
                f"model.sound_widths, found {side}"
            )
        return None

    def _lacking_keypoints(self, features: FeatureSettings) -> str | None:
        keypoints = features.inputs.get(KEYPOINTS)
        if not isinstance(keypoints, KeypointsSettings):
            found = "none" if keypoints is None else keypoints.kind
            return f"features.inputs.{KEYPOINTS} of kind keypoints for model.kind = tribert, found {found}"
        halved, steps = self.graph_strides.count(2), keypoints.frames or features.frames
        if -(-steps // 2**halved) < features.frames:
            least = 2**halved * (features.frames - 1) + 1
            return f"features.inputs.{KEYPOINTS}.frames of {least} or more for model.graph_widths, found {steps}"
        return None
