"""When the frames of a sample are shown beside its sound: one rule for decoding, the model and maps of videos."""

from dataclasses import dataclass

_ROUNDING = 1e-3  # of a segment: a sound is cut to whole samples


@dataclass(frozen=True)
class FrameTimes:
    """Frames share a stretch of time around the sound's middle evenly; each is shown in the middle of its part.

    Attributes:
        frames: T.
        frame_rate_hz: frames a second; None spreads them over the sound.
        sound_s: length of the sound in seconds.
        neighbours: consecutive frames of what was prepared are meant, whatever their distance there: `frame_rate_hz`
            says it only roughly.
    """

    frames: int
    frame_rate_hz: float | None
    sound_s: float
    neighbours: bool = False

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

    def in_segments(self, segments: int, length_s: float) -> tuple[list[int], float]:
        """Which of the equal segments of a sound are on screen at the frames' moments, and when (s from where it
        begins) the middle of the model's sound must lie for that: where the segments' own middles, which their images
        show, come nearest to the moments.

        Without that, one frame of an even number of segments would lie half a segment beside the sound's middle.

        Raises:
            ValueError: the moments reach beyond the segments.
        """
        each_s = length_s / segments
        self._check_fit(segments, length_s)
        moments = [length_s / 2 + offset for offset in self.offsets_s]
        fits = []
        for begin in (0.0, -0.5, 0.5):  # as they are, or moved by up to half a segment
            shift = begin * each_s
            chosen = [min(max(int((moment + shift) / each_s), 0), segments - 1) for moment in moments]
            late = [(segment + 0.5) * each_s - moment for segment, moment in zip(chosen, moments, strict=True)]
            middle = (max(late) + min(late)) / 2
            off = (max(late) - min(late)) / 2
            if abs(middle) <= (0.5 + _ROUNDING) * each_s:
                fits.append((round(off / each_s, 2), abs(round(middle / each_s, 2)), -middle, chosen))
        _, _, early, chosen = min(fits)
        return chosen, length_s / 2 - early

    def consecutive(self, middle: int, there: int, share: float) -> list[int]:
        """A run of neighbours out of so many frames, in which the one at the sound's middle is.

        Args:
            middle: its number.
            share: how many of them come before it, 0–1; at 0.5 they lie around it, at an end as near as there are.

        Raises:
            ValueError: there are fewer.
        """
        if self.frames > there:
            raise ValueError(f"expected {self.frames} consecutive frames as the features ask for, found {there}")
        before = min(int(share * self.frames), self.frames - 1)
        first = min(max(middle - before, 0), there - self.frames)
        return list(range(first, first + self.frames))

    def on_screen(self, segments: int, length_s: float, middle_s: float) -> list[int]:
        """Which of the equal segments of a sound are on screen at the frames' moments around a middle (s from where it
        begins).

        Raises:
            ValueError: the moments reach beyond the segments.
        """
        self._check_fit(segments, length_s)
        each_s = length_s / segments
        return [min(max(int((middle_s + offset) / each_s), 0), segments - 1) for offset in self.offsets_s]

    def _check_fit(self, segments: int, length_s: float) -> None:
        if self.span_s > length_s + length_s / segments:
            raise ValueError(f"expected {self.span_s:.2f} s of segments or more, found {length_s:.2f} s")
