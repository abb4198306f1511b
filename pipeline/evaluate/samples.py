"""Samples of a shard set as they are evaluated: each read once, in chunks, with the truth about where they sound."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import ShardSetError
from pipeline.evaluate.metrics.ground_truth import Mask, crop_boxes, draw_boxes
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.features.inputs import FRAMES
from pipeline.features.settings import Geometry
from pipeline.models.contract import Inputs
from pipeline.samples.metadata import Box, SampleMetadata
from pipeline.stream.arrays import Arrays
from pipeline.stream.batch import Batch, take_batch
from pipeline.stream.fields.contract import FieldSpec
from pipeline.stream.fields.frames import FramesField
from pipeline.stream.loader import Loader
from pipeline.stream.order import Numbers
from pipeline.stream.read_plan import ReadPlan, plan_reading
from pipeline.stream.reader import SampleReader
from pipeline.stream.settings import DataSettings
from pipeline.stream.worker_pool import WorkerPool
from pipeline.train.run_settings import RunSettings

_CHUNK = 64
"""About how many samples are read together, and find another's sound among themselves."""
_CHUNKS_AHEAD = 2
_JUDGED = "frames judged"
"""The frames in the geometry that maps are judged in, where that is another one."""
_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class EvaluationBatch:
    """Samples as the model sees them, without augmentation: a square of each frame and all of the sound.

    Attributes:
        indices: where they lie in the shard set.
        keys, metadata: one a sample.
        inputs: what the model takes: `frames` [B, T, 3, K, K] in 0–1, `sound` [B, C, S] in −1..1, and others'.
        squares: where the model's square lies in the upright frame, `[x1, y1, x2, y2]` in 0–1; beyond where bars are.
        truths: mask [S, S] of the boxes of what sounds, over what of the frame the model sees; None where there are
            none. It is empty where they have no area or lie outside the square.
    """

    indices: list[int]
    keys: list[str]
    metadata: list[SampleMetadata]
    inputs: Inputs
    squares: list[Box]
    truths: list[Mask | None]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def middle(self) -> Tensor:
        """The frames that maps and boxes are of, uint8 [B, 3, K, K]: the middle ones."""
        frames = self.inputs[FRAMES]
        return (frames[:, frames.shape[1] // 2] * 255).round().to(torch.uint8)

    def truth_in_square(self, place: int) -> Mask | None:
        """The truth of a sample over all of the model's square, with its bars: as its frame and its maps lie."""
        truth, boxes = self.truths[place], self.metadata[place].boxes
        return None if truth is None else draw_boxes(crop_boxes(boxes or [], self.squares[place]), len(truth))

    def select(self, places: Sequence[int]) -> "EvaluationBatch":
        """Only the samples at these places."""
        index = torch.tensor(list(places), dtype=torch.long)
        return EvaluationBatch(
            [self.indices[place] for place in places],
            [self.keys[place] for place in places],
            [self.metadata[place] for place in places],
            {name: values[index.to(values.device)] for name, values in self.inputs.items()},
            [self.squares[place] for place in places],
            [self.truths[place] for place in places],
        )

    def joined(self, other: "EvaluationBatch") -> "EvaluationBatch":
        """These samples and others behind them."""
        return EvaluationBatch(
            self.indices + other.indices,
            self.keys + other.keys,
            self.metadata + other.metadata,
            {name: torch.cat([values, other.inputs[name]]) for name, values in self.inputs.items()},
            self.squares + other.squares,
            self.truths + other.truths,
        )

    def pieces(self, size: int) -> Iterator[range]:
        """Places, at most `size` together."""
        return (range(start, min(start + size, len(self))) for start in range(0, len(self), size))


@dataclass(frozen=True)
class Chunk:
    """Samples that were read together.

    Attributes:
        start: of the first one, its place in the order of the evaluation.
        shown: as in training.
        judged: the same in the geometry that maps are judged in.
        contents: of each sample a hash of its pictures and its sound, where they were asked for; else empty.
    """

    start: int
    shown: EvaluationBatch
    judged: EvaluationBatch
    contents: list[bytes]

    def __len__(self) -> int:
        return len(self.shown)

    @cached_property
    def located(self) -> list[int]:
        """Places of the samples with boxes."""
        return [place for place, truth in enumerate(self.judged.truths) if truth is not None]


class EvaluationSamples:
    """The samples of a shard set that are evaluated, in a shuffled order: neighbours in a shard may show the same
    image. The order hangs on the set, `evaluate.seed` and how `data` shuffles, on nothing else.

    Attributes:
        positions: [N] in the order of the set.
        indices: [N] where they lie in the set.
    """

    def __init__(
        self,
        plan: ReadPlan,
        settings: EvaluateSettings,
        device: torch.device,
        pool: WorkerPool | None = None,
    ) -> None:
        """
        Args:
            plan: as of `plan_evaluation`.
            pool: processes that read; they are read here without it.
        """
        self.url, self.plan, self.settings, self.device = plan.sets[0].url, plan, settings, device
        self._pool = pool
        self._loaders: dict[int, Loader] = {}
        order = plan.orders[0]
        indices = order.samples_at(0, range(len(order)))
        self.positions: Numbers = np.flatnonzero(indices < (settings.max_samples or len(order)))
        self.indices: Numbers = indices[self.positions]

    @classmethod
    def open(cls, url: str, run: RunSettings, settings: EvaluateSettings, device: torch.device) -> "EvaluationSamples":
        """The samples of a set, read by this process.

        Raises:
            ShardSetError: the set is missing or unfinished.
        """
        return cls(plan_evaluation(url, run, settings, DataSettings(workers=0)), settings, device)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what the model and the objective take."""
        return tuple(field.name for field in self.plan.fields if field.name != _JUDGED)

    @property
    def heard(self) -> tuple[str, ...]:
        """Those of them that are cut from the sound."""
        return tuple(field.name for field in self.plan.fields if field.sound is not None)

    @cached_property
    def keys(self) -> list[str]:
        """Of all of them, in their order.

        Raises:
            ShardSetError: the index of a shard is damaged or gone.
        """
        found = []
        for place in self.plan.sets[0].places(self.indices):
            if isinstance(place, ShardSetError):
                raise place
            found.append(place.key)
        return found

    def chunks(self, group: int = 1) -> list[range]:
        """All of them, cut into parts of which each is read by one process; `group` in a row stay together."""
        return cut_into_chunks(len(self), group)

    def read(self, places: Sequence[int]) -> Chunk:
        """The samples at these places of the order, in this process."""
        positions, arrays = self.positions[list(places)], Arrays.of(self.plan.fields, len(places))
        with closing(SampleReader(self.plan)) as reader:
            notes = reader.read(positions, arrays)
        return self._chunk(places, take_batch(positions, notes, self.plan.fields, arrays, augment=False))

    def go_through(self, chunks: Sequence[range]) -> Generator[Chunk, None, None]:
        """The samples of these chunks, read ahead of their use.

        Raises:
            ShardSetError: one of them can't be decoded, or does not fit what the model was trained on.
        """
        pieces = [self.positions[chunk.start : chunk.stop] for chunk in chunks]
        with Loader(self.plan, max(map(len, chunks), default=1), pool=self._pool) as loader:
            for chunk, read in zip(chunks, loader.batches(pieces), strict=True):
                yield self._chunk(chunk, read)

    def in_views(self, places: Sequence[int], views: int) -> Generator[Inputs, None, None]:
        """Of each of the samples at these places the inputs of so many views [views, …]: clips at evenly spaced
        moments, from their beginnings to their ends.

        Raises:
            ShardSetError: as of `go_through`.
        """
        if views not in self._loaders:  # one for all chunks: its memory is the pool's
            self._loaders[views] = Loader(self.plan.in_views(views), views, pool=self._pool)
        pieces = [position * views + np.arange(views) for position in self.positions[list(places)]]
        for read in self._loaders[views].batches(pieces):
            yield read.inputs(self.device)

    def _chunk(self, places: Sequence[int], read: Batch) -> Chunk:
        inputs = read.inputs(self.device)
        other = inputs.pop(_JUDGED, None)
        indices = self.indices[list(places)].tolist()

        def seen(geometry: Geometry, inputs: Inputs) -> EvaluationBatch:
            squares = [note.squares.get(geometry, _WHOLE) for note in read.notes]
            truths = [self._truth(*one) for one in zip(read.metadata, squares, strict=True)]
            return EvaluationBatch(indices, read.keys, read.metadata, inputs, squares, truths)

        shown = judged = seen(self.settings.shown_geometry, inputs)
        if other is not None:
            judged = seen(self.settings.judged_geometry, inputs | {FRAMES: other})
        return Chunk(places[0], shown, judged, [note.digest for note in read.notes])

    def _truth(self, metadata: SampleMetadata, square: Box) -> Mask | None:
        if not metadata.boxes:
            return None
        return mask_in_square(metadata.boxes, square, self.settings.map_size)


def mask_in_square(boxes: Sequence[Box], square: Box, size: int) -> Mask:
    """Boxes of the upright frame as a mask [size, size] over what of the frame lies in the model's square."""
    left, top, right, bottom = square
    seen = (max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0))
    return draw_boxes(crop_boxes(boxes, seen), size)


def plan_evaluation(
    url: str,
    run: RunSettings,
    settings: EvaluateSettings,
    data: DataSettings,
    digests: bool = False,
    nodes: int = 1,
    on_progress: Callable[[], None] = lambda: None,
) -> ReadPlan:
    """How a shard set is read that is evaluated: what the run's model and objective take, and where maps are judged on
    other squares than alignment, the frames of both.

    Args:
        data: how it is read, and its order shuffled.
        digests: have a hash of each sample, by which it is found in other sets.

    Raises:
        ShardSetError: the set is missing or unfinished.
    """
    fields: list[str | FieldSpec] = [name for name in run.fields if name != FRAMES]
    if FRAMES in run.fields:
        shown, judged = settings.shown_geometry, settings.judged_geometry
        fields.insert(0, FramesField.of(run.features, False, FRAMES, shown))
        fields += [FramesField.of(run.features, False, _JUDGED, judged)] if judged != shown else []
    # no sample stands in for a bad one: the figures would be of other samples than they say
    data = data.model_copy(update={"prefetch": _CHUNKS_AHEAD, "max_bad_in_a_row": 1})
    return plan_reading(
        url,
        run.features,
        data,
        settings.seed,
        augment=False,
        nodes=nodes,
        on_progress=on_progress,
        fields=fields,
        digests=digests,
    )


def cut_into_chunks(count: int, group: int = 1) -> list[range]:
    """Nearly equal parts of so many places, about 64 long, of whole groups. They hang on nothing else: where samples
    meet others of their chunk, they do so on any number of processes and in batches of any size."""
    groups = -(-count // group)
    parts = max(1, min(groups, round(count / _CHUNK)))
    bounds = [groups * part // parts * group for part in range(parts)]
    return [range(start, stop) for start, stop in pairwise([*bounds, count])]
