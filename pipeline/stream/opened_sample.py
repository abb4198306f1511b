"""A sample whose files are opened when a field asks for them, and its one clock: where the cut of it lies that fields
show."""

from collections.abc import Iterable, Sequence
from functools import cached_property

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from pipeline.features.frame_times import FrameTimes
from pipeline.features.settings import Geometry
from pipeline.samples.metadata import Box, SampleMetadata
from pipeline.shards.members import Sample
from pipeline.stream.randomness import keyed_generator
from pipeline.stream.sound_track import Samples, SoundFormat, SoundTrack, open_track
from pipeline.stream.squares import Cut, Pixels, open_image, square_of_frame, square_of_image
from pipeline.video.clip_frames import ClipFrames
from pipeline.video.upright import Display

CENTRE = 0.5
_LOOKED_AT = 256  # pixels a side, where only the place of a square is asked for

_Frame = tuple[av.VideoFrame, Display]


class Extent:
    """What of a sample a field shows: all that the clock must know of it.

    Attributes:
        name: of the field.
    """

    name: str

    @property
    def pictures(self) -> FrameTimes | None:
        """When its pictures are shown beside the sound; None where it has none, and they may be missing."""
        return None

    @property
    def sound(self) -> SoundFormat | None:
        """The sound that it cuts; None where it has none, and it may be missing."""
        return None

    @property
    def span_s(self) -> float:
        """Seconds around the middle of the cut that it shows, with how far it shifts its sound; a clip is cut so that
        the longest field fits."""
        pictures, sound = self.pictures, self.sound
        return max(0.0 if pictures is None else pictures.span_s, 0.0 if sound is None else sound.length_s)


class OpenedSample:
    """One sample, and the cut of it that is shown.

    The middle of the cut is decided once, from all the fields: of a clip, somewhere in what it has more than the
    longest of them, on a sample of the first sound; of other layouts where the frames are. Fields take their pictures
    and sounds from it, each file is decoded once, and what nobody asks for is not opened.

    Args:
        extents: of all fields that are taken from it.
        place: of geometry `centre`: where squares lie along the longer side of a picture, 0–1.
        moment: of layout `clip`: where the cut lies in what the clip has more than is asked for, 0–1. Of other layouts
            always the middle is taken, where the frames are; of `segments` so that they lie at their moments, with up
            to half a segment of silence at the end where the sound doesn't reach as far. Of frames that are neighbours
            also which run of them around the middle.
        seed, position: that key what fields draw.

    Attributes:
        sample: its files.
        squares: of each geometry that was asked for, the square's box in the upright picture, as of `put_squares`.
    """

    def __init__(
        self,
        sample: Sample,
        extents: Sequence[Extent],
        place: float = CENTRE,
        moment: float = CENTRE,
        seed: int = 0,
        position: int = 0,
    ) -> None:
        self.sample = sample
        self.place = place
        self._moment, self._seed, self._position = moment, seed, position
        self._span_s = max((one.span_s for one in extents), default=0.0)
        shown = [one.pictures for one in extents]
        self._times = next((times for times in shown if times is not None), None)
        self._format = next((one.sound for one in extents if one.sound is not None), None)
        self._keeps = len(shown) - shown.count(None) > 1
        self._tracks: dict[tuple[int, int, bool], SoundTrack] = {}
        self._images: dict[tuple[int, int], Image.Image] = {}
        self._frames: dict[tuple[int, ...], list[_Frame]] = {}
        self.squares: dict[Geometry, Box] = {}

    @property
    def metadata(self) -> SampleMetadata:
        """Its JSON."""
        return self.sample.metadata

    def generator(self, purpose: str) -> np.random.Generator:
        """Draws of a field: the same for a purpose at a position, whoever reads it."""
        return keyed_generator(self._seed, purpose, self._position)

    @cached_property
    def middle_s(self) -> float:
        """The middle of the cut, seconds from the file's zero.

        Raises:
            ValueError: the sample is shorter than what is asked for.
        """
        if self.sample.clip is not None:
            return self._middle_of_clip()
        begin_s = 0.0 if self._format is None else self._track(self._format).begin_s
        return begin_s + self._middle_in_sound_s

    @property
    def zero_s(self) -> float:
        """The file's zero, on the clock of the video that it was taken from (s)."""
        began_s = self.metadata.audio_start_s
        if self.sample.clip is not None or self._format is None:
            return began_s
        return began_s - self._track(self._format).begin_s

    def cut_sound(self, asked: SoundFormat, shift_s: float = 0.0) -> Samples:
        """int16 [C, S], of which the middle lies `shift_s` behind the middle of the cut; silence where there is none.

        Raises:
            ValueError: no sound, damaged, too short or of another rate.
        """
        return self._track(asked).around(self.middle_s + shift_s, asked.samples)

    @property
    def audio_start_s(self) -> float | None:
        """Time of the first sample of the first field's sound, seconds from the video's zero."""
        if self._format is None:
            return None
        return self.zero_s + self._track(self._format).begin_around(self.middle_s, self._format.samples)

    @property
    def frame_times_s(self) -> list[float]:
        """When each picture of the first field that has pictures is shown, seconds from the video's zero. Of a clip its
        time in the clip, behind the time at which the clip begins: frames and sound have the same clock. Empty where
        nobody knows."""
        if self._times is None:
            return []
        shown = self.shown(self._times)
        if self.sample.clip is not None:
            return [self.zero_s + self._clip.times_s[index] for index in shown]
        known = self.metadata.frame_times_s
        return [known[index] for index in shown] if len(known) == len(self.sample.images) else []

    def put_squares(self, times: FrameTimes, geometry: Geometry, into: Pixels) -> Box:
        """Put the pictures that are on screen at `times` as squares into uint8 `into` [T, 3, K, K].

        Returns:
            The square's box in the upright picture, `[x1, y1, x2, y2]` in 0–1; beyond it where bars are.

        Raises:
            ValueError: no picture, fewer than asked for, or damaged.
        """
        shown, cut = self.shown(times), Cut(geometry, self.place)
        what, put = ("an image in it", self._squares_of_images)
        if self.sample.clip is not None:
            what, put = ("its clip", self._squares_of_clip)
        try:
            self.squares[geometry] = put(shown, cut, into)
        except ValueError as error:
            raise ValueError(f"{what} can't be decoded: {error}") from error
        return self.squares[geometry]

    def square(self, geometry: Geometry) -> Box:
        """Where the square of a geometry lies in the upright picture, as of `put_squares`."""
        if geometry not in self.squares:
            middle = FrameTimes(1, None, 0.0)
            self.put_squares(middle, geometry, np.empty((1, 3, _LOOKED_AT, _LOOKED_AT), np.uint8))
        return self.squares[geometry]

    def _track(self, asked: SoundFormat) -> SoundTrack:
        key = (asked.rate_hz, asked.channels, asked.resampled)
        if key not in self._tracks or self._tracks[key].length < asked.samples:
            self._tracks[key] = open_track(self.sample, asked)
        return self._tracks[key]

    def shown(self, times: FrameTimes) -> list[int]:
        """Numbers of the pictures that are on screen at these times, ascending."""
        if self.sample.clip is not None:
            if times.neighbours:
                return times.consecutive(self._clip.shown_at(self.middle_s), len(self._clip), self._moment)
            return [self._clip.shown_at(self.middle_s + offset) for offset in times.offsets_s]
        there = len(self.sample.images)
        if not there:
            raise ValueError("no image in it")
        if times.frames > there:
            raise ValueError(f"expected {times.frames} images as the features ask for, found {there}")
        if there == 1:
            return [0]
        if times.neighbours:
            (middle,) = FrameTimes(1, None, 0.0).on_screen(there, self._length_s, self._middle_in_sound_s)
            return times.consecutive(middle, there, self._moment)
        if times == self._times:
            return self._segments[0]
        return times.on_screen(there, self._length_s, self._middle_in_sound_s)

    @cached_property
    def _segments(self) -> tuple[list[int], float]:
        """Which images the first field shows, and the middle (s from where the sound begins) of what is heard then."""
        assert self._times is not None
        return self._times.in_segments(len(self.sample.images), self._length_s)

    @cached_property
    def _middle_in_sound_s(self) -> float:
        if self._times is None or self._times.neighbours or len(self.sample.images) < 2:
            return self._length_s / 2
        return self._segments[1]

    @cached_property
    def _length_s(self) -> float:
        """Length of the sound, which lies beside the images: as it is, or where nobody asks for it as the JSON says."""
        if self._format is not None:
            return self._track(self._format).length_s
        metadata = self.metadata
        if metadata.audio_samples <= 0 or metadata.audio_rate_hz <= 0:
            raise ValueError("expected to know how long the sound beside its images is, found 0 samples in its JSON")
        return metadata.audio_samples / metadata.audio_rate_hz

    @cached_property
    def _clip(self) -> ClipFrames:
        assert self.sample.clip is not None
        try:
            return ClipFrames(self.sample.clip, self.sample.clip_kind)
        except ValueError as error:
            raise ValueError(f"its clip can't be decoded: {error}") from error

    def _middle_of_clip(self) -> float:
        begins, ends, rounding_s = [], [], 0.0
        if self._times is not None or self._format is None:
            clip = self._clip
            begins.append(clip.times_s[0])
            ends.append(clip.end_s)
            rounding_s = (clip.end_s - clip.times_s[0]) / len(clip)  # a frame less may be rounding
        if self._format is not None:
            track = self._track(self._format)
            begins.append(track.begin_s)
            ends.append(track.end_s)
        begin_s, length_s = max(begins), min(ends) - max(begins)
        spare_s = length_s - self._span_s
        if spare_s < -rounding_s:
            raise ValueError(
                f"expected a clip of {self._span_s:.2f} s or more as the features ask for, found {length_s:.2f} s"
            )
        start_s = begin_s + self._moment * max(0.0, spare_s)
        if self._format is None:
            return start_s + self._span_s / 2
        before_s = (self._span_s - self._format.length_s) / 2
        sound_s = self._track(self._format).begin_near(start_s + before_s, self._format.samples)
        return sound_s + self._format.length_s / 2

    def _squares_of_images(self, shown: list[int], cut: Cut, into: Pixels) -> Box:
        box: Box = (0.0, 0.0, 1.0, 1.0)
        size = into.shape[-1]
        for target, index in zip(into, shown, strict=True):
            image = self._images.get((index, size))
            if image is None:
                image = open_image(self.sample.images[index], size)
                if self._keeps:
                    self._images[index, size] = image
            box = square_of_image(image, cut, target)
        return box

    def _squares_of_clip(self, shown: list[int], cut: Cut, into: Pixels) -> Box:
        box: Box = (0.0, 0.0, 1.0, 1.0)
        before: av.VideoFrame | None = None
        scaler = VideoReformatter()
        for number, (frame, display) in enumerate(self._frames_of(shown)):
            if frame is before:
                into[number] = into[number - 1]
            else:
                box = square_of_frame(frame, cut, into[number], display, scaler)
            before = frame
        return box

    def _frames_of(self, shown: list[int]) -> Iterable[_Frame]:
        """Frames of the clip, and how each is to be shown."""
        key = tuple(shown)
        if key in self._frames:
            return self._frames[key]
        frames = ((frame, self._clip.display_of(frame)) for frame in self._clip.decode(shown))
        if not self._keeps:
            return frames
        self._frames[key] = list(frames)
        return self._frames[key]
