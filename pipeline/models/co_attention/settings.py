"""Settings of Look, Listen and Attend (paper 003, section 3.1); the defaults are its sizes."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.features.settings import FeatureSettings
from pipeline.models.settings import GROUPS, ModelSettings

Channels = Annotated[int, Field(gt=0, multiple_of=GROUPS)]
Stride = Annotated[int, Field(ge=1, le=4)]
Side = Annotated[int, Field(ge=1, le=9)]


class CoAttentionSettings(ModelSettings):
    """Where the paper is silent a docstring says what is done: its code is not public."""

    kind: Literal["co_attention"] = "co_attention"
    sound_widths: tuple[Channels, Channels, Channels, Channels] = (64, 128, 256, 128)
    """Channels of the first convolution over the waveform, of the two pairs behind it, and of the last. The first of
    each pair has the stride 4, as in Owens and Efros (2018), whom the paper follows: a token each 768 samples. Stride 4
    in all of them would leave 7 tokens of 4.2 s."""
    frame_width: Channels = 64
    """Of all convolutions over the clip."""
    frame_kernel: tuple[Side, Side, Side] = (5, 7, 7)
    """Frames, rows and columns that the first convolution over the clip sees; behind it the latter two are halved."""
    frame_strides: Annotated[tuple[tuple[Stride, Stride], ...], Field(min_length=1)] = ((2, 2),) * 4
    """In time and in place, of each 3×3×3 convolution behind that. 126 frames of 224² become 8×7×7 tokens."""
    co_attention: Literal["cma", "aga", "vga"] = "cma"
    """Who looks at the other before each looks at itself: `aga`, tokens of sound at those of the clip (audio-guided
    attention: the sound is the query); `vga`, tokens of the clip at those of sound; `cma`, both. Who doesn't looks at
    itself. What is looked for stays where the query lies, and is added to it: else the numbers of tokens would not
    fit."""
    tokens: Literal["places", "samples"] = "places"
    """`places`: each place and moment is a token, and looks at those of its own clip. `samples`: as F ∈ R^{d×N} can be
    read, a clip is one token, the mean of its places, and looks at those of its micro-batch: what is told of it depends
    on the others, and nothing is localised."""
    hears: bool = True
    """Without, the visual subnetwork alone, which reads no sound and looks at itself (section 5.2, vision only); with
    `train.start_from` it takes of a model that hears what it has of it."""
    positions: Literal["time_and_place", "none"] = "time_and_place"
    """What is added to tokens before they meet: waves of the time (s) of each, the same for clip and sound, and of the
    clip a learned place; the paper says nothing of it."""
    near_s: float | None = Field(default=None, gt=0)
    """Add −|Δt| / (near_s · 2ⁿ) of the time between two tokens (s) to the logits of head n = 0, 1, … where clip and
    sound look at each other (ALiBi, Press et al. 2022), so that each token begins with what happens at its own time.
    Without it, as in the paper, which time belongs to which has to be learnt: use it for few videos or small models."""
    near_place: float | None = Field(default=None, gt=0)
    """The same of the distance between places, in sides of the frame, where tokens of the clip look at each other: each
    begins with its own place at all times. With `near_s` it then knows whether that place goes with the sound over the
    whole clip, which no moment tells by itself where several things move."""
    shown: Literal["frames", "differences", "both"] = "frames"
    """What the first convolution over the clip sees: frames as they are (the paper), by how much each differs from the
    one before it (0 of the first), or both. With differences what moves needn't be told from what stands by learning;
    with them alone nothing that stands is known."""
    width: int = Field(default=512, gt=0, multiple_of=2)
    """Of all tokens."""
    feed_forward: int = Field(default=2048, gt=0)
    """The paper doesn't say it; with the usual four widths it has the 15 M parameters that it tells."""
    pool: Literal["mean", "max"] = "mean"
    """Of what the fusion layer makes the class token: the `mean` of the tokens of clip and sound, or the highest of
    each feature (`max`), which one place alone can decide, where one of several that move is heard. The paper flattens
    all tokens, which is 130 M weights more than it tells."""
    layers: int = Field(default=1, gt=0)
    """Co-attention modules (L)."""
    heads: int = Field(default=8, gt=0)
    """A."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of what attention and feed-forward networks add that is zeroed in training."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "CoAttentionSettings":
        if self.width % self.heads:
            raise ValueError(f"a number of heads that divides width {self.width}, found heads = {self.heads}")
        if (self.near_s or self.near_place) is not None and self.tokens == "samples":
            raise ValueError("tokens = places for near_s and near_place, found samples, which have neither")
        return self

    @property
    def channels(self) -> int:
        """Of what the first convolution over the clip sees."""
        return 6 if self.shown == "both" else 3

    @property
    def fields(self) -> tuple[str, ...]:
        """Frames, and sound where it hears."""
        return ("frames", "sound") if self.hears else ("frames",)

    @property
    def streams(self) -> tuple[str, ...]:
        """What is seen, what is heard, and what the fusion layer makes of both."""
        return ("class", "visual", "audio") if self.hears else ("class", "visual")

    def reason_against(self, features: FeatureSettings) -> str | None:
        """It needs sound that its strides leave something of."""
        least, found = 4**4 * 3, features.audio_samples
        return (
            None
            if found >= least or not self.hears
            else f"features.audio_samples of {least} or more for this model, found {found}"
        )
