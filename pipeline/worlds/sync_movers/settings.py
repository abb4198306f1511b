"""Settings of Sync-Movers."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.worlds.settings import WorldSettings


class SyncMoversSettings(WorldSettings):
    """Sync-Movers: how many videos, and how the objects in them move."""

    kind: Literal["sync_movers"] = "sync_movers"
    train: int = Field(default=3000, ge=0)
    """Scenes of the training split; one video each."""
    validation: int = Field(default=60, ge=0)
    """Scenes of the validation split; `variants_per_test_scene` videos each, and one with an off-screen sound."""
    test: int = Field(default=150, ge=0)
    """Scenes of the test split; `variants_per_test_scene` videos each, and one with an off-screen sound."""
    frame_size: int = Field(default=96, ge=32, le=1024, multiple_of=2)
    """Width and height of the videos, in pixels."""
    fps: int = Field(default=12, ge=6, le=60)
    """Frames a second. A movement lasts `move_s`: fewer than three frames of it tell little."""
    duration_s: float = Field(default=6.0, ge=2, le=60)
    """Length of a video, in seconds."""
    objects: int = Field(default=3, ge=1, le=6)
    """Objects in each video; they differ in nothing but when they move, and where they are."""
    variants_per_test_scene: int = Field(default=2, ge=1, le=6)
    """Videos with the same picture in which the sound goes with another object each, in validation and test."""
    off_screen_share: float = Field(default=0.25, ge=0, lt=1)
    """Share of the training scenes whose sound goes with no object. If not 0, each scene of validation and test has one
    more such video. All of them stand in manifests of their own, `SPLIT_off_screen.jsonl`."""
    moves_per_s: float = Field(default=1.2, gt=0.2, le=3)
    """How often an object moves, on average; the sound has as many onsets."""
    move_s: float = Field(default=0.3, gt=0.1, le=1)
    """How long (s) a movement out and back lasts. It begins with a jerk at the onset."""
    rest_s: float = Field(default=0.45, gt=0.1, le=2)
    """Shortest time (s) between two movements of an object begin."""
    apart_s: float = Field(default=0.1, ge=0, le=0.5)
    """Shortest time (s) between onsets of two objects, and of an object and an off-screen sound. At 0 they coincide by
    chance."""
    reach: float = Field(default=0.06, gt=0, le=0.2)
    """How far an object moves, as a share of the frame's side."""
    min_size: float = Field(default=0.26, gt=0.05, le=0.5)
    """Smallest side of the square that each object is drawn into, as a share of the frame's side."""
    max_size: float = Field(default=0.34, gt=0.05, le=0.5)
    """Largest side of that square. A crowded scene shrinks all its objects alike until they fit."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> "SyncMoversSettings":
        if self.min_size > self.max_size:
            raise ValueError(f"min_size <= max_size (they are {self.min_size} and {self.max_size})")
        if self.variants_per_test_scene > self.objects:
            raise ValueError(
                f"variants_per_test_scene <= objects, as the sound goes with another one in each (they are "
                f"{self.variants_per_test_scene} and {self.objects})"
            )
        if self.move_s > self.rest_s:
            raise ValueError(
                f"move_s <= rest_s, as an object ends a movement first (they are {self.move_s} and {self.rest_s})"
            )
        if self.spare_s <= 0:
            raise ValueError(
                f"apart_s below {self.apart_s + self.spare_s:.3f}, the mean time between onsets of {self.objects} "
                f"objects and an off-screen sound, found {self.apart_s}"
            )
        return self

    @property
    def spare_s(self) -> float:
        """How much longer than `apart_s` (s) the time between onsets is on average."""
        return 1 / (self.moves_per_s * (self.objects + 1)) - self.apart_s
