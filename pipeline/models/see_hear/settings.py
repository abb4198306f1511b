"""Settings of See the Sound, Hear the Pixels."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.models.segment_settings import SegmentModelSettings

Fusion = Literal["lstm_and_mfb", "lstm", "mfb", "multiply", "add", "concatenate", "none"]
Modalities = Literal["both", "visual", "audio"]


class SeeHearSettings(SegmentModelSettings):
    """Paper 002 (Ramaswamy and Das, 2020). The paper says neither how wide its layers are but for features of 512 and
    128, nor p and q of Eq. 3: the defaults of these are of MFB's own paper (Yu et al. 2017)."""

    kind: Literal["see_hear"] = "see_hear"
    fusion: Fusion = "lstm_and_mfb"
    """How each segment's sound and frame meet (section 3.2, Table 2). `lstm_and_mfb`: the sum of an LSTM's outputs over
    both and of the places of the frame as bilinear pooling weighs them by the sound (AVFB); `lstm` or `mfb` alone; the
    mean of the places and the sound `multiply`, `add` or `concatenate` (with a linear layer); `none`: the mean of the
    places as it is ("Audio + Visual" of Table 1)."""
    modalities: Modalities = "both"
    """What segments are told by: `visual` with a fusion is "audio-assisted visual" of Table 1, without one "visual"."""
    mfb_width: int = Field(default=1000, gt=0)
    """p of Eq. 3."""
    mfb_factors: int = Field(default=5, gt=0)
    """q of Eq. 3."""
    width: int = Field(default=512, gt=0)
    """Of the LSTMs over time (Eq. 8), which Eq. 12 has of one width for both modalities."""
    segment_attention: Literal["mean_and_max", "mean", "max", "none"] = "mean_and_max"
    """How all segments are pooled, by which each is weighed (SWAB, Eq. 9–11, Table 3); `none` weighs none."""
    aggregation: bool = True
    """Tell segments by what came before and after they were weighed, and by the similarity of Eq. 12; else by the last
    of these alone (Table 3)."""

    @model_validator(mode="after")
    def _audio_alone_is_not_fused(self) -> "SeeHearSettings":
        if self.modalities == "audio" and self.fusion != "none":
            raise ValueError(f"fusion = none for modalities = audio, which fuses nothing, found {self.fusion}")
        return self

    @property
    def used(self) -> tuple[str, ...]:
        """The modalities by which segments are told."""
        return ("visual", "audio") if self.modalities == "both" else (self.modalities,)

    @property
    def streams(self) -> tuple[str, ...]:
        """What is seen and heard; segments, and what of them is seen and heard, as they are weighed."""
        return ("visual", "audio", "segments", *(f"{name}_segments" for name in self.used))
