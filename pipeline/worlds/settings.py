"""Settings of the synthetic world."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.settings.base import Settings
from pipeline.worlds.instruments import INSTRUMENTS


class SynthSettings(Settings):
    """Timbre-Scenes: how many videos, how they look and how they sound."""

    train: int = Field(default=6000, ge=0)
    """Scenes of the training split; one video each."""
    validation: int = Field(default=150, ge=0)
    """Scenes of the validation split; `variants_per_test_scene` videos each."""
    test: int = Field(default=300, ge=0)
    """Scenes of the test split; `variants_per_test_scene` videos each."""
    variants_per_test_scene: int = Field(default=2, ge=1, le=4)
    """Videos with the same image and different sounds, in validation and test. Interactive localisation needs 2."""
    difficulty: Literal["easy", "hard"] = "easy"
    """`easy`: an instrument's colour belongs to its class, as with real instruments. `hard`: only its shape does."""
    frame_size: int = Field(default=128, ge=32, le=1024, multiple_of=2)
    """Width and height of the videos, in pixels."""
    fps: int = Field(default=8, ge=1, le=60)
    """Frames a second."""
    duration_s: float = Field(default=2.0, ge=0.5, le=60)
    """Length of a video, in seconds. At least what one sample's audio takes."""
    audio_rate_hz: Literal[22050, 44100] = 22050
    """Rate of the videos' sound and of the stems."""
    sounding_weights: dict[int, float] = Field(default={1: 0.8, 2: 0.2})
    """Number of sounding instruments → how often."""
    silent_weights: dict[int, float] = Field(default={0: 0.1, 1: 0.2, 2: 0.4, 3: 0.3})
    """Number of silent instruments → how often."""
    min_size: float = Field(default=0.3, gt=0.05, le=0.6)
    """Smallest side of the square that an instrument is drawn into, as a share of the frame's side."""
    max_size: float = Field(default=0.45, gt=0.05, le=0.6)
    """Largest side of that square. A crowded scene shrinks all its instruments alike until they fit."""
    held_out_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the test split's instruments that wear a finish which their class never wears in training."""
    sensor_noise: float = Field(default=1.5, ge=0, le=32)
    """Standard deviation of the noise that differs from frame to frame, in levels of 255."""
    crf: int = Field(default=20, ge=0, le=51)
    """x264's constant rate factor: lower is larger and closer to the drawn pixels."""
    stems: Literal["all", "test", "none"] = "all"
    """Which videos get masks and stems beside their JSON: all, those of validation and test, or none."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> "SynthSettings":
        for name, weights in (("sounding_weights", self.sounding_weights), ("silent_weights", self.silent_weights)):
            if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
                raise ValueError(f"{name} with at least one positive weight and none below zero")
        if min(self.sounding_weights) < 1 or min(self.silent_weights) < 0:
            raise ValueError("at least 1 sounding and at least 0 silent instruments in every scene")
        most = max(self.sounding_weights) + max(self.silent_weights)
        if most > len(INSTRUMENTS):
            raise ValueError(
                f"at most {len(INSTRUMENTS)} instruments in a scene, one a class (the weights allow {most})"
            )
        if self.min_size > self.max_size:
            raise ValueError(f"min_size <= max_size (they are {self.min_size} and {self.max_size})")
        return self
