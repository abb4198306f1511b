"""Settings of mix-and-separate, and what is measured of it."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.models.settings import Norm
from pipeline.tasks.contract import Metric, TaskSettings, Totals

Look = Literal["whole", "frames"]
Fusion = Literal["components", "sum", "channels"]
Widths = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]


class MixAndSeparateSettings(TaskSettings):
    """How sounds are mixed, and by what head a mask takes them apart."""

    kind: Literal["mix_and_separate"] = "mix_and_separate"
    group: int = Field(default=8, ge=2)
    """What is added to a sound comes from the same group of this many consecutive positions, so that mixtures are the
    same on any number of ranks; it must divide the micro-batch."""
    added: int = Field(default=1, ge=1)
    """Sounds that are added to each (Eq. 4: N; the paper's is 1). Each mixture is taken apart into all of its sounds,
    so a group has whole mixtures where `group` is a multiple of `added` + 1."""
    head: Literal["class", "audio", "places", "streams"] = "places"
    """What the mask is made from. `class`: the class token; `audio`: the audio tokens (both the paper's). `places`:
    each visual token makes one of its own, so that there is a sound of each place (Sound of Pixels). `streams`: tokens
    of all streams, by an attention U-Net, of a model whose tokens lie by frames (TriBERT, paper 001)."""
    pool: Literal["attention", "mean"] = "attention"
    """How the places of a frame become one condition in training, for the head `places`. `mean`: all alike.
    `attention`: by how similar, by cosine before they meet, their tokens are to those of the sound that is sought, as
    it was before it was mixed; no gradient goes that way. It is for models whose tokens are contrasted at the same time
    (`dense_contrastive` without a projection). In use, where that sound is not known, places are pooled by how much
    of the mixture each keeps."""
    sharpness: float = Field(default=30.0, gt=0)
    """By which similarities of `attention`, of each place with each time of the sound, are multiplied before the
    softmax over all of them."""
    elsewhere: float = Field(default=1.0, ge=0)
    """Weight of a second loss, with `attention`: a place a sound, drawn the more often the less it is like any moment
    of any sound of the mixture, should keep nothing. Without it, places that are never pooled learn nothing, and keep
    more the longer training takes: of the quickstart's model, a frame's sound gains 1 dB then."""
    components: int = Field(default=16, gt=0)
    """Channels into which a mixture is taken apart by the head `places`, where a place weights them, and by `streams`
    with a `fusion` of `components`."""
    look: Look = "whole"
    """What of the streams is looked at, for the head `streams`. `whole`: the tokens that stand for all frames (⟨SOS⟩,
    the paper). `frames`: at each time those of the frame that is shown then, where frames are spread evenly over the
    sound: what is told apart by when something moves."""
    fusion: Fusion = "components"
    """How the attention U-Net takes what is seen and heard, one vector, for the head `streams`. `components`: the
    vector weights channels into which the U-Net takes a mixture apart (Sound of Pixels). `sum`: it is added at the
    bottleneck, as attention to a single vector does (the paper). `channels`: times a softmax over channels, for each
    frequency, of the bottleneck's sum over time times the vector (its public code). On two cores only `components`
    left the mask that keeps half of everything within minutes."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of that vector."""
    widths: Widths = (16, 32, 64, 96)
    """Channels of the convolutions that make the mask from the mixture's spectrogram and the tokens, each at half the
    resolution of the one before; for the head `streams` the first have the spectrogram's own."""
    norm: Norm = "batch"
    """Of these convolutions."""
    bins: int | None = Field(default=None, gt=1)
    """Height of the mask; `features.frequency_bins` unless given. The mask may be finer than what the model hears: of
    two sounds of the synthetic worlds, the ideal binary mask gains 12 dB with 64 bins, 15 dB with 128."""
    mask: Literal["ratio", "binary"] = "binary"
    """What the mask should be: the share of the mixture's magnitude that the sound has, or whether that is more than
    half."""
    loss: Literal["mse", "bce"] = "bce"
    """`mse`: mean square (the paper). `bce`: binary cross entropy, weighted by the logarithm of the mixture's magnitude
    (Sound of Pixels)."""

    @model_validator(mode="after")
    def _enough_to_add(self) -> "MixAndSeparateSettings":
        if self.added >= self.group:
            raise ValueError(f"added below group = {self.group}, found {self.added}")
        return self

    @property
    def keeps_nothing(self) -> bool:
        """Whether there are places that should keep nothing."""
        return self.head == "places" and self.pool == "attention" and self.elsewhere > 0

    @property
    def sums(self) -> tuple[str, ...]:
        """Over sounds that count: the loss, how many there are, the share of each mixture's energy that the mask puts
        on the right side, the gain in dB; and sounds that have nothing to be mixed with."""
        return ("loss", "sounds", "energy_right", "gain_db", "left_out")

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """`gain_db` is the scale-invariant ratio of signal to distortion, of magnitudes in the plane of the mask, that
        the mask gains over the mixture: what the sounds gain goes with it and is measured by `gavt evaluate`."""
        return (
            Metric("loss", "loss"),
            Metric("energy_right", chance=self.added / (self.added + 1)),
            Metric("gain_db", "number", chance=0.0),
            Metric("unmixed_samples", "count"),
        )

    def figures(self, totals: Totals) -> dict[str, float | None]:
        """Means over the sounds."""
        sounds = totals["sounds"]
        answered = bool(sounds) and math.isfinite(totals["loss"])
        means = {name: totals[name] / sounds if answered else None for name in ("loss", "energy_right", "gain_db")}
        return means | {"unmixed_samples": totals["left_out"]}

    def reason_against(self, model: Any) -> str | None:
        """It needs frames and sound, and the head `class` a class token."""
        needed = ["visual", "audio", *(["class"] if self.head == "class" else [])]
        missing = next((name for name in needed if name not in model.streams), None)
        if missing is None:
            return None
        wanted = f"{', '.join(needed[:-1])} and {needed[-1]}"
        head = f" with task.head = {self.head}" if missing == "class" else ""
        return f"a model with the streams {wanted} for task.kind = {self.kind}{head}, found none {missing}"
