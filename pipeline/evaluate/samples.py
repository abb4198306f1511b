"""Samples of a shard set, in batches, with the truth about where they sound."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ShardSetError
from pipeline.evaluate.metrics.ground_truth import Mask, crop_boxes, draw_boxes
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.features.inputs import FRAMES, SOUND
from pipeline.features.settings import FeatureSettings
from pipeline.models.contract import Inputs
from pipeline.samples.metadata import Box, SampleMetadata
from pipeline.shards.members import Sample
from pipeline.shards.shard_set import ShardSet
from pipeline.stream.decode import DecodedSample, decode_sample
from pipeline.stream.fields.frames import FramesField
from pipeline.stream.fields.sound import SoundField
from pipeline.stream.reader import digest_of


@dataclass(frozen=True)
class Batch:
    """Samples as the model sees them, without augmentation: a square of each frame and all of the sound.

    Attributes:
        keys, metadata: one a sample.
        pixels: uint8 [B, T, 3, K, K].
        waveform: [B, C, S] in −1..1.
        squares: where the model's square lies in the upright frame, `[x1, y1, x2, y2]` in 0–1; beyond where bars are.
        truths: mask [S, S] of the boxes of what sounds, over what of the frame the model sees; None where nobody knows.
            It is empty where they have no area or lie outside the square.
    """

    keys: list[str]
    metadata: list[SampleMetadata]
    pixels: Tensor
    waveform: Tensor
    squares: list[Box]
    truths: list[Mask | None]

    @property
    def frames(self) -> Tensor:
        """Frames [B, T, 3, K, K] in 0–1."""
        return self.pixels.float() / 255

    @property
    def inputs(self) -> Inputs:
        """What the model takes."""
        return {"frames": self.frames, "sound": self.waveform}

    @property
    def middle(self) -> Tensor:
        """The frames that maps and boxes are of, uint8 [B, 3, K, K]: the middle ones."""
        return self.pixels[:, self.pixels.shape[1] // 2]

    def truth_in_square(self, place: int) -> Mask | None:
        """The truth of a sample over all of the model's square, with its bars: as its frame and its maps lie."""
        truth, boxes = self.truths[place], self.metadata[place].boxes
        return None if truth is None else draw_boxes(crop_boxes(boxes or [], self.squares[place]), len(truth))

    def select(self, places: Sequence[int]) -> "Batch":
        """Only the samples at these places."""
        index = torch.tensor(list(places), dtype=torch.long, device=self.pixels.device)
        return Batch(
            [self.keys[place] for place in places],
            [self.metadata[place] for place in places],
            self.pixels[index],
            self.waveform[index],
            [self.squares[place] for place in places],
            [self.truths[place] for place in places],
        )


@dataclass(frozen=True)
class KnownSample:
    """What is remembered of a sample that was read.

    Attributes:
        contents: a hash of its pictures and its sound.
    """

    metadata: SampleMetadata
    contents: bytes


class EvaluationSamples:
    """The samples of a shard set that are evaluated, in its own order."""

    def __init__(self, url: str, features: FeatureSettings, settings: EvaluateSettings, device: torch.device) -> None:
        self.shards = ShardSet.open(url)
        self._sound = SoundField.of(features)
        self._frames = {
            geometry: FramesField.of(features, augment=False, geometry=geometry)
            for geometry in (settings.judged_geometry, settings.shown_geometry)
        }
        self.settings = settings
        self.device = device
        self.count = min(settings.max_samples or len(self.shards), len(self.shards))
        self._known: dict[int, KnownSample] = {}

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples in batches of `size`."""
        for start in range(0, self.count, size):
            yield self.read(range(start, min(start + size, self.count)))

    def read(self, indices: Sequence[int], judged: bool = True) -> Batch:
        """The samples at these places of the shard set.

        Args:
            judged: frames with boxes get the geometry that maps are judged in; else all get the other one.

        Raises:
            ShardSetError: one of them can't be decoded, or does not fit what the model was trained on.
        """
        decoded = [self._decode(index, judged) for index in indices]
        return Batch(
            [sample.key for sample in decoded],
            [sample.metadata for sample in decoded],
            torch.from_numpy(np.stack([sample.arrays[FRAMES] for sample in decoded])).to(self.device),
            self._waveforms(decoded),
            [_square_of(sample) for sample in decoded],
            [self._truth(sample) for sample in decoded],
        )

    def sounds(self, indices: Sequence[int]) -> Tensor:
        """Only the waveforms [B, C, S] of the samples at these places."""
        return self._waveforms([self._decode(index, judged=False) for index in indices])

    def known(self) -> list[KnownSample]:
        """What is known of each sample; those that were not decoded before are read for it."""
        for index in range(self.count):
            if index not in self._known:
                self._remember(index, self.shards.read(index))
        return [self._known[index] for index in range(self.count)]

    def _remember(self, index: int, sample: Sample) -> None:
        self._known[index] = KnownSample(sample.metadata, digest_of(sample))

    def _decode(self, index: int, judged: bool) -> DecodedSample:
        sample = self.shards.read(index)
        if index not in self._known:
            self._remember(index, sample)
        located = judged and sample.metadata.boxes is not None
        geometry = self.settings.judged_geometry if located else self.settings.shown_geometry
        try:
            return decode_sample(sample, (self._frames[geometry], self._sound))
        except ValueError as error:
            raise ShardSetError(f"{self.shards.url}: {error}") from error

    def _truth(self, sample: DecodedSample) -> Mask | None:
        if sample.metadata.boxes is None:
            return None
        left, top, right, bottom = _square_of(sample)
        seen = (max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0))
        return draw_boxes(crop_boxes(sample.metadata.boxes, seen), self.settings.map_size)

    def _waveforms(self, decoded: Sequence[DecodedSample]) -> Tensor:
        """[B, C, S] in −1..1."""
        audio = np.stack([sample.arrays[SOUND] for sample in decoded])
        return torch.from_numpy(audio).to(self.device).float() / 32768


def _square_of(sample: DecodedSample) -> Box:
    (square,) = sample.squares.values()
    return square
