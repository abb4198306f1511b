"""Settings of Event-Strips."""

from typing import Literal, get_args

from pydantic import Field, model_validator

from pipeline.worlds.instruments import INSTRUMENTS
from pipeline.worlds.settings import InstrumentLooks, WorldSettings, check_weights

SegmentKind = Literal["seen_and_heard", "only_seen", "only_heard", "off_screen", "silent", "noise"]
"""What happens in a segment: an instrument is seen and heard; it is seen and nothing is heard; it is heard and nothing
is seen; one is seen and another one heard; nothing is seen or heard; an instrument is seen and noise heard."""
SEGMENT_KINDS: tuple[SegmentKind, ...] = get_args(SegmentKind)
SEEN: frozenset[SegmentKind] = frozenset(("seen_and_heard", "only_seen", "off_screen", "noise"))
"""Kinds in which something is seen."""
HEARD: frozenset[SegmentKind] = frozenset(("seen_and_heard", "only_heard", "off_screen"))
"""Kinds in which an instrument is heard."""


class EventStripsSettings(InstrumentLooks, WorldSettings):
    """Event-Strips: how many videos, and what happens in their segments."""

    kind: Literal["event_strips"] = "event_strips"
    train: int = Field(default=1500, ge=0)
    """Videos of the training split."""
    validation: int = Field(default=100, ge=0)
    """Videos of the validation split."""
    test: int = Field(default=200, ge=0)
    """Videos of the test split."""
    frame_size: int = Field(default=96, ge=32, le=1024, multiple_of=2)
    """Width and height of the videos, in pixels."""
    fps: int = Field(default=4, ge=1, le=60)
    """Frames a second; a segment shows one still picture."""
    segments: int = Field(default=10, ge=1, le=120)
    """Segments a video."""
    segment_s: float = Field(default=1.0, ge=0.5, le=10)
    """Length of a segment, in seconds."""
    weights: dict[SegmentKind, float] = Field(
        default={
            "seen_and_heard": 0.3,
            "only_seen": 0.15,
            "only_heard": 0.15,
            "off_screen": 0.2,
            "silent": 0.1,
            "noise": 0.1,
        }
    )
    """Kind of a segment → how often. Each video has as many of each as these say, but for rounding, in random order. As
    long as `only_heard` and `off_screen` together have as much as `seen_and_heard`, hearing alone beats the guess "no
    event" nowhere; and as long as `only_seen`, `off_screen` and `noise` have, nor does seeing."""
    companion_weights: dict[int, float] = Field(default={0: 0.1, 1: 0.45, 2: 0.45})
    """Number of silent instruments beside one that is seen → how often."""
    classes_per_video: int = Field(default=2, ge=2, le=len(INSTRUMENTS))
    """Classes whose events make up a video. Each of them is also what is only seen, only heard, or heard off the
    screen, so that no label of the whole video tells what happens in a segment."""
    room_noise_db: float = Field(default=-60.0, ge=-90, le=-30)
    """Level (dB of full scale, RMS) of the noise that is always there: nothing is digitally silent."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> "EventStripsSettings":
        check_weights("weights", self.weights.values())
        check_weights("companion_weights", self.companion_weights.values())
        if min(self.companion_weights) < 0:
            raise ValueError("no number of companions below zero in companion_weights")
        most = max(self.companion_weights) + 2
        if most > len(INSTRUMENTS):
            raise ValueError(
                f"at most {len(INSTRUMENTS) - 2} companions, as one of {len(INSTRUMENTS)} instruments is seen and "
                f"another may be heard (companion_weights allow {most - 2})"
            )
        frames = self.segment_s * self.fps
        if frames != round(frames):
            raise ValueError(f"segment_s of whole frames, found {self.segment_s} s at {self.fps} a second")
        return self
