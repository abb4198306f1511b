"""Samples of a shard set, in batches, with the truth about where they sound."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ShardSetError
from pipeline.evaluate.metrics.ground_truth import Mask, crop_boxes, draw_boxes
from pipeline.features.settings import FeatureSettings
from pipeline.samples.metadata import SampleMetadata
from pipeline.stream.decode import DecodedSample, decode_sample
from pipeline.stream.read_plan import decode_spec
from pipeline.stream.shard_set import ShardSet


@dataclass(frozen=True)
class Batch:
    """Samples as the model sees them, without augmentation: the centre square and all of the sound.

    Attributes:
        keys, metadata: one a sample.
        pixels: uint8 [B, T, 3, K, K].
        waveform: [B, C, S] in −1..1.
        truths: mask [S, S] of the boxes of what sounds; None where nobody knows, or where it lies outside the square.
    """

    keys: list[str]
    metadata: list[SampleMetadata]
    pixels: Tensor
    waveform: Tensor
    truths: list[Mask | None]

    @property
    def frames(self) -> Tensor:
        """Frames [B, T, 3, K, K] in 0–1."""
        return self.pixels.float() / 255

    @property
    def middle(self) -> Tensor:
        """The frames that maps and boxes are of, uint8 [B, 3, K, K]: the middle ones."""
        return self.pixels[:, self.pixels.shape[1] // 2]

    def select(self, places: Sequence[int]) -> "Batch":
        """Only the samples at these places."""
        index = torch.tensor(list(places), dtype=torch.long, device=self.pixels.device)
        return Batch(
            [self.keys[place] for place in places],
            [self.metadata[place] for place in places],
            self.pixels[index],
            self.waveform[index],
            [self.truths[place] for place in places],
        )


class EvaluationSamples:
    """The samples of a shard set that are evaluated, in its own order."""

    def __init__(
        self, url: str, features: FeatureSettings, map_size: int, limit: int | None, device: torch.device
    ) -> None:
        self.shards = ShardSet.open(url)
        self.spec = decode_spec(features, augment=False)
        self.map_size = map_size
        self.device = device
        self.count = len(self.shards) if limit is None else min(limit, len(self.shards))

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int) -> Iterator[Batch]:
        """All samples in batches of `size`."""
        for start in range(0, self.count, size):
            yield self.read(range(start, min(start + size, self.count)))

    def read(self, indices: Sequence[int]) -> Batch:
        """The samples at these places of the shard set.

        Raises:
            ShardSetError: one of them can't be decoded, or does not fit what the model was trained on.
        """
        decoded = [self._decode(index) for index in indices]
        return Batch(
            [sample.key for sample in decoded],
            [sample.metadata for sample in decoded],
            torch.from_numpy(np.stack([sample.frames for sample in decoded])).to(self.device),
            torch.stack([_waveform(sample) for sample in decoded]).to(self.device),
            [self._truth(sample) for sample in decoded],
        )

    def other_sounds(self, start: int, batch: Batch) -> Tensor | None:
        """Waveforms [B, C, S] of other samples for a batch that begins at place `start`: each sample gets the sound of
        the one half the set away, or of the next behind it that doesn't share its group. None where all samples are of
        one group.
        """
        sounds = []
        for place, metadata in enumerate(batch.metadata):
            index = start + place
            for step in range(self.count):
                partner = self._decode((index + self.count // 2 + step) % self.count)
                same_group = metadata.group is not None and partner.metadata.group == metadata.group
                if partner.key != batch.keys[place] and not same_group:
                    break
            else:
                return None
            sounds.append(_waveform(partner))
        return torch.stack(sounds).to(self.device)

    def _decode(self, index: int) -> DecodedSample:
        try:
            return decode_sample(self.shards.read(index), self.spec)
        except ValueError as error:
            raise ShardSetError(f"{self.shards.url}: {error}") from error

    def _truth(self, sample: DecodedSample) -> Mask | None:
        if not sample.metadata.boxes:
            return None
        mask = draw_boxes(crop_boxes(sample.metadata.boxes, sample.square), self.map_size)
        return mask if mask.any() else None


def _waveform(sample: DecodedSample) -> Tensor:
    """[C, S] in −1..1."""
    return torch.from_numpy(sample.audio).float() / 32768
