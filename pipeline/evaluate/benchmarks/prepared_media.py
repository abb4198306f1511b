"""Frames and sounds of a shard set by the ids that a benchmark's list has for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from pipeline.evaluate.benchmarks.sample import BenchmarkSample
from pipeline.evaluate.samples import Chunk, EvaluationBatch, EvaluationSamples
from pipeline.prepare.layouts.sample import key_of
from pipeline.shards.ledger import read_ledger

View = tuple[str, tuple[str, ...]]
"""A frame and the sounds that it is shown with, by their ids."""


def views_of(samples: Sequence[BenchmarkSample]) -> list[View]:
    """What the model is shown of samples, each once: the sources of a mixture share it."""
    return list(dict.fromkeys((frame, sample.sounds) for sample in samples for frame in sample.frames))


@dataclass(frozen=True)
class MediaAtHand:
    """Media that were read.

    Attributes:
        batch: each with its own sound.
        rows: where each lies in it, by id.
        heard: names of the inputs that are cut from sounds.
    """

    batch: EvaluationBatch
    rows: Mapping[str, int]
    heard: Sequence[str]

    def shown(self, views: Sequence[View]) -> EvaluationBatch:
        """Each frame with its sounds added up, as the public loaders mix them."""
        batch = self.batch.select([self.rows[frame] for frame, _ in views])
        if all(sounds == (frame,) for frame, sounds in views):
            return batch
        return self.hearing(batch, [[self.rows[sound] for sound in sounds] for _, sounds in views])

    def hearing(self, batch: EvaluationBatch, sounds: Sequence[Sequence[int]]) -> EvaluationBatch:
        """The batch with the sounds of these rows."""
        given = {
            name: torch.stack([self.batch.inputs[name][list(rows)].sum(0) for rows in sounds]) for name in self.heard
        }
        return replace(batch, inputs=batch.inputs | given)


class PreparedMedia:
    """The media of a shard set: of the samples that `gavt prepare` made of a video or an image the middle one; of tars
    that others wrote the samples that are called so."""

    def __init__(self, samples: EvaluationSamples) -> None:
        self._samples = samples
        self._is_foreign = samples.plan.sets[0].is_foreign
        self._of: dict[str, list[int]] = {}
        for place, key in enumerate(samples.keys):
            self._of.setdefault(key_of(key) if self._is_foreign else key.rpartition("_")[0], []).append(place)
        for places in self._of.values():
            places.sort(key=samples.indices.__getitem__)

    def place_of(self, medium: str) -> int | None:
        """Where a medium's sample lies in the order of the evaluation; None where it isn't there."""
        places = self._of.get(key_of(medium))
        return None if places is None else places[len(places) // 2]

    def lacking(self, sample: BenchmarkSample) -> str | None:
        """Why one of a sample's frames or sounds isn't there; None where all are."""
        for medium in sample.media:
            if key_of(medium) not in self._of:
                return self._failed.get(medium, self._elsewhere)
        return None

    @cached_property
    def _failed(self) -> dict[str, str]:
        """Why media gave no samples, as the set's ledger has it."""
        if self._is_foreign:
            return {}
        entries = (entry for entry in read_ledger(self._samples.url) if entry.status == "failed")
        return {entry.video: f"not prepared ({entry.reason})" for entry in entries}

    @property
    def _elsewhere(self) -> str:
        cut = len(self._samples) < len(self._samples.plan.sets[0])
        return "not in the shard set" + (", or left out by evaluate.max_samples" if cut else "")

    def count_several(self, samples: Sequence[BenchmarkSample]) -> int:
        """How many of the media of these samples have several of their own."""
        return sum(len(self._of.get(medium, ())) > 1 for medium in _media_of(samples))

    def count_others(self, samples: Sequence[BenchmarkSample]) -> int:
        """How many media there are that these samples have no use for."""
        return len(self._of.keys() - _media_of(samples))

    def at_hand(self, samples: Sequence[BenchmarkSample], chunk: Chunk) -> MediaAtHand:
        """All media of samples, of which a chunk has some; the others are read.

        Raises:
            ShardSetError: one of them can't be decoded.
        """
        places = {medium: self.place_of(medium) for sample in samples for medium in sample.media}
        known = {medium: place for medium, place in places.items() if place is not None}
        here = range(chunk.start, chunk.start + len(chunk))
        elsewhere = sorted(set(known.values()).difference(here))
        batch = chunk.judged.joined(self._samples.read(elsewhere).judged) if elsewhere else chunk.judged
        row_of = {place: row for row, place in enumerate([*here, *elsewhere])}
        return MediaAtHand(batch, {medium: row_of[place] for medium, place in known.items()}, self._samples.heard)


def _media_of(samples: Sequence[BenchmarkSample]) -> set[str]:
    return {key_of(medium) for sample in samples for medium in sample.media}
