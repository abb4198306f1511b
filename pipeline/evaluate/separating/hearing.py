"""What a model hears and sees of a video: windows of its sound, each with the frames nearest to its middle."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import MediaError
from pipeline.evaluate.overlay.moments import FramePlaces, Moment, moments_of
from pipeline.evaluate.overlay.video_keypoints import VideoKeypoints
from pipeline.evaluate.separating.own_sound import OwnSound
from pipeline.evaluate.separating.places import Place
from pipeline.evaluate.separating.windows import Windows
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.features.settings import FeatureSettings, Geometry
from pipeline.models.contract import VISUAL, Inputs
from pipeline.reasons import Reason
from pipeline.samples.metadata import Box
from pipeline.tasks.mix_and_separate import MixAndSeparate
from pipeline.tasks.task import System
from pipeline.video.video_file import open_video

_AT_ONCE = 8
"""Windows that go through the model together."""


@dataclass(frozen=True)
class Heard:
    """Some windows in order.

    Attributes:
        inputs: of the model, a row each.
        moments: the frames of each.
    """

    inputs: Inputs
    moments: list[Moment]


@dataclass(frozen=True)
class Hearing:
    """A video as a model takes it, window by window."""

    sound: OwnSound
    windows: Windows
    features: FeatureSettings
    geometry: Geometry
    device: torch.device
    persons: VideoKeypoints

    def square(self) -> Box:
        """What of the upright frame the model sees in the first window, `[x1, y1, x2, y2]` in 0–1."""
        moments = self._moments()
        with closing(moments):
            return next(moments).square

    def some(self, most: int) -> "Hearing":
        """At most so many of the windows, spread over all of them."""
        starts = self.windows.starts
        chosen = np.unique(np.linspace(0, len(starts) - 1, min(most, len(starts))).round().astype(int))
        return replace(self, windows=replace(self.windows, starts=[starts[number] for number in chosen]))

    def __iter__(self) -> Iterator[Heard]:
        """All windows, some together, in one pass.

        Raises:
            MediaError: the video can't be read, or has no picture that can be decoded.
        """
        features = self.features
        sounds = self.windows.cut(self.sound.as_heard(features.audio_rate_hz, features.audio_channels))
        both = zip(sounds, self._moments(), strict=True)
        middles = map(float, map(self.windows.middle_s, range(len(self.windows.starts))))
        while together := list(islice(both, _AT_ONCE)):
            frames = torch.stack([torch.stack(moment.frames) for _, moment in together])
            sound = torch.from_numpy(np.stack([sound for sound, _ in together]))
            inputs = {FRAMES: frames.to(self.device).float() / 255, SOUND: sound.to(self.device)}
            moments = [moment for _, moment in together]
            heard_s = list(islice(middles, len(moments)))
            inputs |= self.persons.inputs(heard_s, [moment.square for moment in moments], self.device)
            yield Heard(inputs, moments)

    def _moments(self) -> Generator[Moment, None, None]:
        """The moment of each window: the picture on screen in its middle, the last one where there are no more."""
        places = FramePlaces.of(self.features)
        wanted = [
            min(max(self.windows.middle_s(number) + places.lead_s, Fraction(0)), self.sound.picture_s)
            for number in range(len(self.windows.starts))
        ]
        with open_video(self.sound.source) as video:
            # the first picture too: where the file is wrong about its end, it is all that there is
            times = sorted({Fraction(0), *wanted})
            found = moments_of(video, times, places, self.features.frame_size, self.geometry)
            moment = next(found, None)
            if moment is None:
                raise MediaError(Reason.DAMAGED, "no picture of it could be decoded")
            for time in wanted:
                while moment.time_s < time and (later := next(found, None)) is not None:
                    moment = later
                yield moment


@torch.no_grad()
def masks_of(hearing: Hearing, system: System, separator: MixAndSeparate, places: Sequence[Place]) -> Iterator[Tensor]:
    """[P, F, T] for each window: what of it comes from each place, as the model finds."""
    if not places:
        yield from (torch.zeros(0, separator.bins, hearing.features.time_frames) for _ in hearing.windows.starts)
        return
    if separator.head != "places":
        for heard in hearing:
            yield from separator.frame_masks(system.model, heard.inputs)[:, None].float().cpu()
        return
    grid, numbers = system.model.grids[VISUAL], iter(range(len(hearing.windows.starts)))
    for heard in hearing:
        times = [float(hearing.windows.middle_s(number)) for number in islice(numbers, len(heard.moments))]
        weights = [
            torch.stack([place.weights_at(time, moment.square, grid) for place in places])
            for time, moment in zip(times, heard.moments, strict=True)
        ]
        masks = separator.place_masks(system.model, heard.inputs, torch.stack(weights).to(hearing.device))
        yield from masks.float().cpu()
