"""Settings of the AV-transformer (paper 004, section 3); the defaults are its own but for `residual`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.models.segment_settings import SegmentModelSettings


class AvTransformerSettings(SegmentModelSettings):
    """What the paper compares in its Tables 2 and 3, each by a setting."""

    kind: Literal["av_transformer"] = "av_transformer"
    encoding: Literal["transformer", "mlp", "conv3d", "lstm"] = "transformer"
    """How places are encoded: by looking at each other (Eq. 1–2), each by itself, by 3×3×3 convolutions over segments
    and space, or each through the segments by an LSTM. What is heard comes in with the first only."""
    neighbours: Annotated[tuple[int, ...], Field(min_length=1)] = (-1, 0, 1)
    """Of `transformer`: the segments whose places are looked at, counted from the own: `[0]` is Table 3's intra,
    `[-1, 1]` inter."""
    keys: Literal["summed", "each"] = "summed"
    """Of `transformer`: `summed` adds a place's keys up over those segments before the softmax, as Eq. 2 is written;
    with `each`, every place of every one of them is a key."""
    hears: bool = True
    """Of `transformer`: whether what is heard is added to the queries."""
    residual: bool = True
    """Of `transformer`: whether a place's own value is added to what it sees, as in the non-local blocks that the paper
    takes after (Wang et al. 2018). Equation 2 has no such sum (`false`): what all places see alike then hides which of
    them is meant, and instance attention points nowhere."""
    co_attention: Literal["instance", "audio_guided"] = "instance"
    """How places are weighted: `instance`, by their dot product with what is heard (Eq. 3; AVOL in Table 2), or by a
    network of both (AVEL; AG in Table 2)."""
    attended: Literal["raw", "encoded"] = "raw"
    """What is weighted: places as they came in (Eq. 4), or as they were encoded."""
    head: Literal["avel", "avsdn", "lstm", "mlp"] = "avel"
    """What goes through the segments: two LSTMs of both directions side by side, a sequence to sequence network, one
    LSTM, or nothing."""
    modalities: Literal["both", "visual", "audio"] = "both"
    """`visual` hears nothing and `audio` sees nothing: zeros are in the place of the other (Table 1's single ones)."""
    hidden: int = Field(default=128, gt=0)
    """Width of the head's LSTMs in each direction, and of its hidden layer."""
    event_width: int = Field(default=64, gt=0)
    """Of the last layer before the one that tells classes."""

    @property
    def streams(self) -> tuple[str, ...]:
        """What is seen and heard, and what happens in each segment."""
        return ("visual", "audio", "segments")

    @model_validator(mode="after")
    def _neighbours_differ(self) -> "AvTransformerSettings":
        if len(set(self.neighbours)) < len(self.neighbours):
            raise ValueError(f"neighbours that differ, found {list(self.neighbours)}")
        return self
