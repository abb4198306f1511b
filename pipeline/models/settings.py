"""Settings of models: what all have in common, and those of the G-AVT (G-AVT thesis, section 3.1 and Table 2)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.features.settings import FeatureSettings
from pipeline.settings.base import Settings

Norm = Literal["batch", "sync_batch", "group"]
Padding = Literal["even", "centred"]
GROUPS = 8
"""Of channels, in group norm."""
TENSOR_FILES = (".pth", ".pt", ".safetensors")
"""How files of weights end; anything else is the name of weights that torchvision fetches."""
_VIT_SIZES = {
    (16, 768, 12, 12, 3072): "vit_b_16",
    (32, 768, 12, 12, 3072): "vit_b_32",
    (16, 1024, 24, 16, 4096): "vit_l_16",
    (32, 1024, 24, 16, 4096): "vit_l_32",
    (14, 1280, 32, 16, 5120): "vit_h_14",
}


def _check_weights(weights: str | None, architecture: str | None) -> None:
    """Refuse names of weights that torchvision has not."""
    if weights is None or weights.endswith(TENSOR_FILES):
        return
    if architecture is None:
        raise ValueError(f"a file as weights, because torchvision has no ViT of this size; found {weights}")
    from torchvision.models import get_model_weights  # takes seconds, where a name is given only

    known = ", ".join(get_model_weights(architecture).__members__)
    if weights not in get_model_weights(architecture).__members__:
        raise ValueError(f"a file ({', '.join(TENSOR_FILES)}) or one of {known} as weights, found {weights}")


class ModelSettings(Settings):
    """Settings of a model. A subclass names its `kind` and says what follows from its settings."""

    kind: str

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the inputs that it embeds."""
        raise NotImplementedError

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams of tokens that it gives."""
        raise NotImplementedError

    @property
    def class_maps(self) -> int:
        """Classes of which it embeds maps (`AudioVisualModel.class_maps`)."""
        return 0

    @property
    def sees_images(self) -> bool:
        """Whether its embedders see inputs as images (`AudioVisualModel.images`)."""
        return False

    def reason_against(self, features: FeatureSettings) -> str | None:
        """Why it can't be built for inputs of these settings, as `expected …, found …` goes on; None where it can."""
        return None


class PatchEmbedderSettings(Settings):
    """Non-overlapping patches, each projected linearly (ViT)."""

    kind: Literal["patch"] = "patch"
    patch: int = Field(default=16, ge=1)
    """Height and width of a patch, in pixels or spectrogram cells."""

    @property
    def stride(self) -> int:
        """Pixels or spectrogram cells between two tokens."""
        return self.patch


class ConvolutionEmbedderSettings(Settings):
    """A few convolutions with stride 2, for small frames."""

    kind: Literal["convolution"] = "convolution"
    widths: tuple[Annotated[int, Field(gt=0)], ...] = Field(default=(32, 64, 128, 128), min_length=1)
    """Channels after each convolution; all but the last have stride 2."""
    kernel: Literal[2, 3, 4] = 3
    """Side of all kernels but the last. With 4 a token looks at what lies around its own centre, with 2 at its own
    square of the frame alone; with 3 at what lies around a place half a token up and left of it, and so do maps, unless
    `padding` mends that."""
    last_kernel: Literal[1, 3] = 3
    """Side of the last kernel, which has stride 1. With 1 a token sees less around itself (22 pixels instead of 38 with
    three 4×4 before it), so that it can't speak for its neighbours."""
    padding: Padding = "even"
    """Zeros beside 3×3 kernels of stride 2: `even` on all sides; or `centred`, where the last of them has them below
    and to the right only. Its step outweighs those before it: tokens look at their own centre to within half a
    pixel."""
    norm: Norm = "batch"
    """As of ResNets."""

    @model_validator(mode="after")
    def _padding_is_of_use(self) -> "ConvolutionEmbedderSettings":
        if self.padding == "centred" and self.kernel != 3:
            raise ValueError(f"kernel = 3 for padding = centred, as tokens of even kernels are, found {self.kernel}")
        return self

    @model_validator(mode="after")
    def _groups_divide_widths(self) -> "ConvolutionEmbedderSettings":
        for width in self.widths if self.norm == "group" else ():
            if width % GROUPS:
                raise ValueError(f"widths in multiples of {GROUPS} for norm = group, found {width}")
        return self

    @property
    def stride(self) -> int:
        """Pixels or spectrogram cells between two tokens."""
        return int(2 ** (len(self.widths) - 1))


class ResNetEmbedderSettings(Settings):
    """ResNet features at stride 16 and a 1×1 convolution to the width of the encoder (Figure 2).

    The visual embedder keeps all four stages, the last without its stride, so that a 128² frame gives 8×8 tokens; the
    audio embedder skips the last stage, so that a 256² spectrogram gives 16×16.
    """

    kind: Literal["resnet18", "resnet50", "resnet101"] = "resnet18"
    norm: Literal[Norm, "frozen"] = "batch"
    """`batch` is the paper's; its statistics depend on the micro-batch. Those of `sync_batch` are of the micro-batches
    of all processes together: curves don't depend on the number of processes, as long as no gradients are accumulated,
    but each norm waits for all processes. `group` gives the same values for any batch. `frozen` keeps the statistics,
    scales and shifts of `weights`, and so gives the same values for any batch too."""
    padding: Padding = "even"
    """Of convolutions with stride 2: `even` on all sides, as in the paper and in torchvision, with which token r looks
    around pixel 16 r, nearly half a token up and left of its own place; or `centred`, where the last of them has its
    zeros below and to the right and its shortcut takes the cells there, and token r looks around pixel 16 r + 8.
    `weights` fit both: away from the borders the features are those that `even` has of a frame moved by 8 pixels."""
    weights: str | None = None
    """Where training starts from: a file of torchvision's weights for this network (.pth or .safetensors, path or URL),
    or the name of weights that torchvision fetches, such as IMAGENET1K_V2."""

    @model_validator(mode="after")
    def _norm_fits_weights(self) -> "ResNetEmbedderSettings":
        if self.norm == "frozen" and self.weights is None:
            raise ValueError("weights to freeze the statistics of, found norm = frozen without weights")
        if self.norm == "group" and self.weights is not None:
            raise ValueError(
                "norm = batch, sync_batch or frozen with weights, which were trained with batch norm; found group"
            )
        _check_weights(self.weights, self.architecture)
        return self

    @property
    def architecture(self) -> str:
        """Torchvision's name of the network."""
        return self.kind

    @property
    def stride(self) -> int:
        """Pixels or spectrogram cells between two tokens."""
        return 16


class ConvNextEmbedderSettings(Settings):
    """ConvNeXt features at stride 16 and a 1×1 convolution to the width of the encoder.

    As with the ResNets, the visual embedder keeps all four stages, the last at the resolution of the third, and the
    audio embedder skips the last. Layer norms only: the same values for any batch.
    """

    kind: Literal["convnext"] = "convnext"
    size: Literal["tiny", "small", "base", "large"] = "tiny"
    """Which of the published networks: they differ in blocks and widths, and `weights` must be of the same."""
    padding: Padding = "even"
    """Zeros that keep the last stage, whose 2×2 convolution has stride 1 here, as large as the third. `even`: a row
    below and a column to the right of the third, so that tokens look half a token down and right of their own place;
    `centred`: around what the third is made of. `weights` fit both. The audio embedder has no such stage."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Stochastic depth: how often the last block is left out for a sample; earlier ones linearly less often."""
    weights: str | None = None
    """As of ResNets."""

    @model_validator(mode="after")
    def _weights_are_known(self) -> "ConvNextEmbedderSettings":
        _check_weights(self.weights, self.architecture)
        return self

    @property
    def architecture(self) -> str:
        """Torchvision's name of the network."""
        return f"convnext_{self.size}"

    @property
    def stride(self) -> int:
        """Pixels or spectrogram cells between two tokens."""
        return 16


class EncoderSettings(Settings):
    """A transformer encoder, as in BERT and ViT."""

    width: int = Field(default=512, gt=0)
    """Embedding dimension of all tokens."""
    feed_forward: int = Field(default=1024, gt=0)
    """Width of the hidden layer of the feed-forward network ("hidden dim" of Table 2)."""
    layers: int = Field(default=2, gt=0)
    """Encoder layers, one behind the other."""
    heads: int = Field(default=16, gt=0)
    """Heads of each layer's attention; they must divide `width`."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of activations that is zeroed in training. Lower it for data that is seen few times."""
    norm_first: bool = False
    """Layer norm before attention and feed-forward (pre-norm) instead of behind them (BERT, the paper). Deep encoders
    learn with it only."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Stochastic depth (Huang et al. 2016): how often the last layer's changes are left out for a sample; earlier
    layers' linearly less often. 0.1 to 0.4 for deep encoders that overfit."""
    layer_scale: float | None = Field(default=None, gt=0)
    """Begin with each layer's changes multiplied by this, a learned number a channel (CaiT); 1e-5 for deep encoders.
    Off by default."""
    query_key_norm: bool = False
    """Layer norm on the queries and keys of each head (ViT-22B), so that attention can't saturate in 16 bits."""
    depth_scaled_init: bool = False
    """Begin with the output projections of attention and feed-forward smaller by √(2 · layers), so that the tokens'
    variance does not grow with depth (GPT-2)."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "EncoderSettings":
        if self.width % self.heads:
            raise ValueError(f"a number of heads that divides width {self.width}, found heads = {self.heads}")
        return self


class VitEmbedderSettings(EncoderSettings):
    """A tower of pre-norm encoder layers over patches with a class token of its own (ViT; the defaults are ViT-B/16)
    and a linear layer to the width of the encoder."""

    kind: Literal["vit"] = "vit"
    patch: int = Field(default=16, ge=1)
    """Height and width of a patch, in pixels or spectrogram cells."""
    width: int = Field(default=768, gt=0)
    feed_forward: int = Field(default=3072, gt=0)
    layers: int = Field(default=12, gt=0)
    heads: int = Field(default=12, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    norm_first: Literal[True] = True
    weights: str | None = None
    """As of ResNets, for the sizes of torchvision's vit_b_16, vit_b_32, vit_l_16, vit_l_32 and vit_h_14. Positions are
    interpolated to the grid of the input."""

    @model_validator(mode="after")
    def _weights_are_known(self) -> "VitEmbedderSettings":
        _check_weights(self.weights, self.architecture)
        return self

    @property
    def architecture(self) -> str | None:
        """Torchvision's name of the network; None where it has none of this size."""
        return _VIT_SIZES.get((self.patch, self.width, self.layers, self.heads, self.feed_forward))

    @property
    def stride(self) -> int:
        """Pixels or spectrogram cells between two tokens."""
        return self.patch


Embedder = Annotated[
    PatchEmbedderSettings
    | ConvolutionEmbedderSettings
    | ResNetEmbedderSettings
    | ConvNextEmbedderSettings
    | VitEmbedderSettings,
    Field(discriminator="kind"),
]


class GavtSettings(EncoderSettings, ModelSettings):
    """The General Audio-Visual Transformer. The defaults are version c of Table 2."""

    kind: Literal["gavt"] = "gavt"
    visual_embedder: Embedder = ResNetEmbedderSettings()
    """What makes tokens of frames."""
    audio_embedder: Embedder = ResNetEmbedderSettings()
    """What makes tokens of log-frequency spectrograms."""
    registers: int = Field(default=0, ge=0)
    """Learned tokens beside the class token that belong to no place (Darcet et al. 2024): they take up what would
    otherwise be kept in background tokens and spoil the maps. 4 is usual."""
    audio_alignment: Literal["whole", "frames"] = "whole"
    """With several frames: `whole` gives each frame a learned position in time and leaves the sound as it is. `frames`
    cuts the sound's time axis into slices, each around a frame, and adds that frame's position in time to the slice's
    audio tokens, so that what is seen and heard at the same time is marked alike (after CAV-MAE-Sync)."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Frames and sound."""
        return ("frames", "sound")

    @property
    def streams(self) -> tuple[str, ...]:
        """A class token, what is seen, what is heard and, where there are any, registers."""
        return ("class", "visual", "audio", *(["registers"] if self.registers else []))

    @property
    def sees_images(self) -> bool:
        """Frames and spectrograms."""
        return True

    def reason_against(self, features: FeatureSettings) -> str | None:
        """Sound can't be aligned with a single frame, and inputs are cut into whole tokens."""
        if self.audio_alignment == "frames" and features.frames == 1:
            return "features.frames of 2 or more for model.audio_alignment = frames, found 1"
        return reason_against_strides(self.visual_embedder, self.audio_embedder, features)


def reason_against_strides(visual: Embedder, audio: Embedder, features: FeatureSettings) -> str | None:
    """Why inputs can't be cut into whole tokens; None where they can."""
    side, bins, times = features.frame_size, features.frequency_bins, features.time_frames
    if side % visual.stride:
        return f"features.frame_size in multiples of {visual.stride} for model.visual_embedder, found {side}"
    if bins % audio.stride or times % audio.stride:
        return (
            f"features.frequency_bins × time frames (audio_samples // stft_hop + 1) in multiples of {audio.stride} for "
            f"model.audio_embedder, found {bins} × {times}"
        )
    return None
