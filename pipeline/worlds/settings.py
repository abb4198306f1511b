"""Settings that all worlds have, and the registry of worlds."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.settings.base import Settings
from pipeline.settings.registry import Kind, KindOf, Registry

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class WorldSettings(Settings):
    """How many scenes a world has, and how its videos are coded. A subclass names its `kind`."""

    kind: str
    train: int = Field(default=6000, ge=0)
    """Scenes of the training split; one video each."""
    validation: int = Field(default=150, ge=0)
    """Scenes of the validation split."""
    test: int = Field(default=300, ge=0)
    """Scenes of the test split."""
    frame_size: int = Field(default=128, ge=32, le=1024, multiple_of=2)
    """Width and height of the videos, in pixels."""
    fps: int = Field(default=8, ge=1, le=60)
    """Frames a second."""
    audio_rate_hz: Literal[22050, 44100] = 22050
    """Rate of the videos' sound and of the stems."""
    sensor_noise: float = Field(default=1.5, ge=0, le=32)
    """Standard deviation of the noise that differs from frame to frame, in levels of 255."""
    crf: int = Field(default=20, ge=0, le=51)
    """x264's constant rate factor: lower is larger and closer to the drawn pixels."""

    @property
    def scenes(self) -> dict[Split, int]:
        """Scenes of each split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


class InstrumentLooks(Settings):
    """How instruments look."""

    difficulty: Literal["easy", "hard"] = "easy"
    """`easy`: an instrument's colour belongs to its class, as with real instruments. `hard`: only its shape does."""
    min_size: float = Field(default=0.3, gt=0.05, le=0.6)
    """Smallest side of the square that an instrument is drawn into, as a share of the frame's side."""
    max_size: float = Field(default=0.45, gt=0.05, le=0.6)
    """Largest side of that square. A crowded scene shrinks all its instruments alike until they fit."""
    held_out_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the test split's instruments that wear a finish which their class never wears in training."""

    @model_validator(mode="after")
    def _sizes_in_order(self) -> "InstrumentLooks":
        if self.min_size > self.max_size:
            raise ValueError(f"min_size <= max_size (they are {self.min_size} and {self.max_size})")
        return self


def check_weights(name: str, weights: Collection[float]) -> None:
    """Check that something can be drawn by these weights.

    Raises:
        ValueError: it can't.
    """
    if not weights or min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"{name} with at least one positive weight and none below zero")


WORLDS: Registry[WorldSettings] = Registry(
    "world",
    {
        "timbre_scenes": Kind(
            "pipeline.worlds.timbre_scenes.settings:TimbreScenesSettings",
            "pipeline.worlds.timbre_scenes.world:TimbreScenes",
        ),
        "sync_movers": Kind(
            "pipeline.worlds.sync_movers.settings:SyncMoversSettings", "pipeline.worlds.sync_movers.world:SyncMovers"
        ),
        "event_strips": Kind(
            "pipeline.worlds.event_strips.settings:EventStripsSettings",
            "pipeline.worlds.event_strips.world:EventStrips",
        ),
    },
    default="timbre_scenes",
)
SynthSettings = Annotated[WorldSettings, KindOf(WORLDS)]
"""The settings of any world, told by its key `kind`."""
