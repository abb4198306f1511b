"""Samples as vectors, which several measures look at: made once of each chunk, put together in the order of a set.

Vectors are called as `pipeline.models.pooling.pooled` does, STAGE/STREAM, and lie in memory: a million samples of three
stages of two streams of width 512 take 12 GB.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.samples import Chunk
from pipeline.models.contract import of_streams
from pipeline.models.pooling import pooled
from pipeline.samples.metadata import SampleMetadata
from pipeline.tasks.pairing import scene_numbers
from pipeline.tasks.task import System
from pipeline.train.load import Trained
from pipeline.train.system import example_batch

Vectors = npt.NDArray[np.float32]
"""[N, D]"""


STAGE_NAMES: dict[str, str] = {
    "embedded": "as embedded",
    "encoded": "encoded alone",
    "fused": "encoded together",
}
"""As rows call them."""


@dataclass(frozen=True)
class Known:
    """What is known of samples beside their vectors.

    Attributes:
        keys, videos: one a sample.
        scenes: int64 [N, 3] as of `scene_numbers`.
        labels: what sounds, of each.
    """

    keys: list[str]
    videos: list[str]
    scenes: npt.NDArray[np.int64]
    labels: list[list[str]]

    @classmethod
    def of(cls, keys: Sequence[str], metadata: Sequence[SampleMetadata]) -> "Known":
        """Of samples as they were read."""
        scenes = np.array([scene_numbers(one) for one in metadata], np.int64).reshape(-1, 3)
        return cls(list(keys), [one.video for one in metadata], scenes, [list(one.labels) for one in metadata])

    @classmethod
    def together(cls, several: "Sequence[Known]") -> "Known":
        """One behind the other."""
        return cls(
            [key for one in several for key in one.keys],
            [video for one in several for video in one.videos],
            np.concatenate([one.scenes for one in several]),
            [labels for one in several for labels in one.labels],
        )

    def __len__(self) -> int:
        return len(self.keys)

    def of_scenes_of(self, other: "Known") -> int:
        """How many samples share a video, a file or an image with some of others."""
        own, others = self.scenes, other.scenes
        shared = [np.isin(own[:, axis], others[:, axis]) & (own[:, axis] != 0) for axis in range(own.shape[1])]
        return int(np.any(shared, axis=0).sum())

    def select(self, places: Sequence[int]) -> "Known":
        """Only the samples at these places."""
        keys, videos = ([one[place] for place in places] for one in (self.keys, self.videos))
        return Known(keys, videos, self.scenes[np.array(places, np.intp)], [self.labels[place] for place in places])


class Embedder:
    """Makes the vectors of a system, `at_once` samples together. Those of the last chunk are remembered: measures that
    see the same chunk one after the other share them."""

    def __init__(self, system: System, at_once: int) -> None:
        self.system, self._at_once = system, at_once
        self._last: tuple[Chunk, dict[str, Vectors]] | None = None

    @torch.no_grad()
    def __call__(self, chunk: Chunk) -> dict[str, Vectors]:
        """By name, of the samples as they are shown in training."""
        if self._last is None or self._last[0] is not chunk:
            parts = []
            for places in chunk.shown.pieces(self._at_once):
                inputs = chunk.shown.select(places).inputs
                vectors = pooled(self.system.model, {name: inputs[name] for name in self.system.inputs})
                parts.append({name: vector.cpu().numpy() for name, vector in vectors.items()})
            self._last = chunk, vectors_together(parts)
        return self._last[1]


@torch.no_grad()
def embedded_widths(trained: Trained) -> dict[str, int]:
    """D of the streams that inputs are embedded into."""
    system, settings = trained.system, trained.settings
    device = next(system.parameters()).device
    inputs, _ = example_batch(system, settings, settings.task.group, device)
    embedded = of_streams(system.model.embed({name: inputs[name] for name in system.inputs}))
    return {name: tokens.shape[2] for name, tokens in embedded.items()}


def vectors_together(parts: Sequence[dict[str, Vectors]]) -> dict[str, Vectors]:
    """One behind the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def not_finite(vectors: Mapping[str, Vectors]) -> int:
    """Samples of which a vector has something in it that is no number."""
    return int((~np.all([np.isfinite(one).all(1) for one in vectors.values()], axis=0)).sum())
