"""Settings of Timbre-Scenes."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.settings.base import Settings
from pipeline.worlds.instruments import INSTRUMENTS
from pipeline.worlds.settings import InstrumentLooks, WorldSettings, check_weights

STROKE_S = 0.2
"""How long (s) a player's stroke out and back lasts: no longer than the shortest note. It begins with a jerk at the
onset."""


class PlayersSettings(Settings):
    """Players beside the instruments, whose hands strike at the beginning of each note."""

    silent: Literal["move", "still"] = "move"
    """Players who aren't heard `move` to a melody of their own, and all videos of a scene show the same pictures; or
    they hold `still`."""
    alike: bool = True
    """The instruments of a scene look alike, and say nothing of how they sound: only who strikes with the onsets tells
    which of them sounds. False leaves them the looks of their classes."""
    hands: Literal["alike", "own"] = "alike"
    """How hands are held: all `alike`, or by the players of each class in a way of its `own`, so that a pose tells how
    the instrument sounds that doesn't look so."""


class TimbreScenesSettings(InstrumentLooks, WorldSettings):
    """Timbre-Scenes: how many videos, how they look and how they sound."""

    kind: Literal["timbre_scenes"] = "timbre_scenes"
    variants_per_test_scene: int = Field(default=2, ge=1, le=4)
    """Videos with the same image and different sounds, in validation and test. Interactive localisation needs 2."""
    duration_s: float = Field(default=2.0, ge=0.5, le=60)
    """Length of a video, in seconds. At least what one sample's audio takes."""
    sounding_weights: dict[int, float] = Field(default={1: 0.8, 2: 0.2})
    """Number of sounding instruments → how often."""
    silent_weights: dict[int, float] = Field(default={0: 0.1, 1: 0.2, 2: 0.4, 3: 0.3})
    """Number of silent instruments → how often."""
    stems: Literal["all", "test", "none"] = "all"
    """Which videos get masks and stems beside their JSON: all, those of validation and test, or none."""
    players: PlayersSettings | None = None
    """Players in the scenes, with exact keypoints; null for instruments alone. A scene's squares then hold both."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> "TimbreScenesSettings":
        check_weights("sounding_weights", self.sounding_weights.values())
        check_weights("silent_weights", self.silent_weights.values())
        if min(self.sounding_weights) < 1 or min(self.silent_weights) < 0:
            raise ValueError("at least 1 sounding and at least 0 silent instruments in every scene")
        most = max(self.sounding_weights) + max(self.silent_weights)
        if most > len(INSTRUMENTS):
            raise ValueError(
                f"at most {len(INSTRUMENTS)} instruments in a scene, one a class (the weights allow {most})"
            )
        if self.players is not None and self.fps * STROKE_S < 2:
            raise ValueError(f"fps >= {2 / STROKE_S:g}, so that players' strokes are seen (it is {self.fps})")
        return self
