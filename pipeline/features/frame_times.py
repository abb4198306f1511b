"""When the frames of a sample are shown beside its sound: one rule for decoding, the model and maps of videos."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FrameTimes:
    """Frames share a stretch of time around the sound's middle evenly; each is shown in the middle of its part.

    Attributes:
        frames: T.
        frame_rate_hz: frames a second; None spreads them over the sound.
        sound_s: length of the sound in seconds.
    """

    frames: int
    frame_rate_hz: float | None
    sound_s: float

    @property
    def span_s(self) -> float:
        """Length (s) of the stretch that the frames share."""
        return self.frames / self.frame_rate_hz if self.frame_rate_hz else self.sound_s

    @property
    def offsets_s(self) -> list[float]:
        """Time (s) of each frame, counted from the sound's middle; 0 of the middle one of an odd number."""
        return [((frame + 0.5) / self.frames - 0.5) * self.span_s for frame in range(self.frames)]

    def nearest(self, offset_s: float) -> int:
        """The frame nearest to a time (s) counted from the sound's middle; of two as near, the later."""
        share = int((offset_s / self.span_s + 0.5) * self.frames // 1)
        return min(max(share, 0), self.frames - 1)
