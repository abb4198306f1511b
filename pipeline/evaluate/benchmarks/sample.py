"""What a benchmark asks of one map, and the truth that it is held against."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.metrics.ground_truth import Mask, PixelBox, draw_pixels

TRUTH_SIZE = 224
"""Height and width of a frame at which all these benchmarks compare maps and truths."""


@dataclass(frozen=True, slots=True)
class BenchmarkSample:
    """A frame and a sound of which a map is asked.

    Attributes:
        id: what its map is called.
        boxes: of what sounds, corners x1, y1, x2, y2 in pixels of a square of `TRUTH_SIZE` onto which each whole frame
            is squashed; several frames lie side by side.
        labels: what sounds.
        votes: how many boxes have to cover a pixel for it to count in full; with fewer it counts in part.
        group: the image that it shares with samples of other sounds.
        sounding: False where nothing that is heard is seen, so that no map should be sure of anything.
        seen: the files or videos of its frames; called as the sample unless given.
        heard: those of its sounds, which are added up; those of the frames unless given.
        mask: instead of boxes, what sounds, packed by `packed`.
        scenarios: kinds of scene, of which each has figures of its own.
    """

    id: str
    boxes: tuple[PixelBox, ...]
    labels: tuple[str, ...] = ()
    votes: int = 1
    group: str | None = None
    sounding: bool = True
    seen: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    mask: bytes | None = None
    scenarios: tuple[str, ...] = ()

    @property
    def frames(self) -> tuple[str, ...]:
        """Ids of what is seen."""
        return self.seen or (self.id,)

    @property
    def sounds(self) -> tuple[str, ...]:
        """Ids of what is heard."""
        return self.heard or self.frames

    @property
    def media(self) -> tuple[str, ...]:
        """Ids of all that it is made of."""
        return tuple(dict.fromkeys((*self.frames, *self.sounds)))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of truth and map."""
        return TRUTH_SIZE, TRUTH_SIZE * len(self.frames)

    def truth(self) -> npt.NDArray[np.generic]:
        """Mask [h, w]; where several annotators vote, weights in 0–1: min(boxes over a pixel / votes, 1)."""
        if self.mask is not None:
            height, width = self.shape
            bits = np.unpackbits(np.frombuffer(self.mask, dtype=np.uint8), count=height * width)
            return bits.view(np.bool_).reshape(height, width)
        if self.votes == 1:
            return draw_pixels(self.boxes, self.shape)
        covered = np.zeros(self.shape)
        for box in self.boxes:
            covered += draw_pixels([box], self.shape)
        return np.minimum(covered / self.votes, 1.0)


def packed(mask: Mask) -> bytes:
    """A mask [h, w] of what sounds as `BenchmarkSample` holds it, an eighth as large."""
    return np.packbits(mask).tobytes()


def mean_truth(samples: Sequence[BenchmarkSample]) -> npt.NDArray[np.float32]:
    """The mean [h, w] of the truths of all sounding samples, of which there is one."""
    total = np.zeros(samples[0].shape)
    for sample in samples:
        total += sample.truth().astype(np.float64)
    return (total / max(1, sum(sample.sounding for sample in samples))).astype(np.float32)
