"""Where each token of the fused sequence comes from."""

from dataclasses import dataclass

from pipeline.models.contract import AUDIO, VISUAL


@dataclass(frozen=True)
class TokenLayout:
    """Class token, visual tokens frame by frame and row by row, audio tokens, registers."""

    visual_grid: tuple[int, int]
    """Rows and columns of visual tokens of one frame."""
    audio_grid: tuple[int, int]
    """Frequencies and times of audio tokens."""
    frames: int = 1
    registers: int = 0
    frame_of_time: tuple[int, ...] | None = None
    """For each time of the audio grid the frame that it is aligned with; None where sound and frames aren't aligned."""

    class_token = slice(0, 1)

    @property
    def visual(self) -> slice:
        """Of all frames."""
        return slice(1, 1 + self.frames * self.visual_grid[0] * self.visual_grid[1])

    def visual_of(self, frame: int) -> slice:
        """Of one frame."""
        size = self.visual_grid[0] * self.visual_grid[1]
        return slice(1 + frame * size, 1 + (frame + 1) * size)

    @property
    def audio(self) -> slice:
        begin = self.visual.stop
        return slice(begin, begin + self.audio_grid[0] * self.audio_grid[1])

    @property
    def register(self) -> slice:
        return slice(self.audio.stop, self.count)

    @property
    def slices(self) -> dict[str, slice]:
        """Where each stream lies."""
        found = {"class": self.class_token, VISUAL: self.visual, AUDIO: self.audio}
        return found | ({"registers": self.register} if self.registers else {})

    @property
    def count(self) -> int:
        """Tokens in all."""
        count: int = self.audio.stop + self.registers
        return count
