"""`evaluation_maps.npz`: a few samples with their maps, for the report.

frames    uint8 [n, K, K, 3]     what the model saw
maps      float32 [n, h, w]      of the readout of the row `model`
rows      float64 [n, h]         where the maps' values lie in the frame, in 0–1 of its height …
columns   float64 [n, w]         … and of its width
truths    bool [n, S, S]         what sounds, as it lies in the frames above; all false where nobody knows
hits      int8 [n]               1 where the map's maximum lies on what sounds, 0 where not, −1 where nobody knows
keys      str [n]
labels    str [n]                what sounds, joined by ", "
silent    str [n]                what is visible and silent, joined by ", "; empty where nobody knows
readout   str
"""

import io
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluate.metrics.pointing import points_at
from pipeline.evaluate.metrics.resize import Centres, Map, resize_seen
from pipeline.evaluate.samples import EvaluationBatch
from pipeline.evaluate.settings import EvaluateSettings

EXAMPLES = "evaluation_maps.npz"


@dataclass(frozen=True)
class Example:
    """A sample with its map.

    Attributes:
        index: where it lies in the shard set.
        located: whether it has boxes.
        columns: what is kept of it, by the names of the file.
    """

    index: int
    located: bool
    columns: dict[str, Any]


class FirstOnes:
    """Picks the first samples of a set, up to `limit`, out of those that come in any order: which they are is only
    known in the end, but few come in between."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lowest: list[int] = []

    def __call__(self, index: int) -> bool:
        """Whether the sample at a place may still be one of them."""
        place = bisect(self._lowest, index)
        self._lowest.insert(place, index)
        del self._lowest[self.limit :]
        return place < self.limit


def example_of(
    batch: EvaluationBatch, place: int, heat: Map, centres: Centres | None, settings: EvaluateSettings
) -> Example:
    """A sample of a batch with its map [h, w], and where the map's values lie (None: evenly)."""
    metadata, truth, drawn = batch.metadata[place], batch.truths[place], batch.truth_in_square(place)
    seen = resize_seen(heat, batch.squares[place], settings.map_size, settings.align_corners, centres)
    placed = centres or Centres.even(*heat.shape)
    silent = [name for name in metadata.visible or [] if name not in metadata.labels]
    columns = {
        "frames": batch.middle[place].permute(1, 2, 0).cpu().numpy(),
        "maps": heat,
        "rows": np.array(placed.rows),
        "columns": np.array(placed.columns),
        "truths": np.zeros((settings.map_size, settings.map_size), dtype=np.bool_) if drawn is None else drawn,
        "hits": np.int8(-1 if truth is None else points_at(seen, truth)),
        "keys": batch.keys[place],
        "labels": ", ".join(metadata.labels),
        "silent": ", ".join(silent),
    }
    return Example(batch.indices[place], truth is not None, columns)


def as_npz(examples: Sequence[Example], limit: int, readout: str) -> bytes:
    """The file of the first of these examples: of samples with boxes, and of others where those don't suffice."""
    first = sorted(examples, key=lambda one: (not one.located, one.index))[:limit]
    arrays = {name: np.stack([np.asarray(one.columns[name]) for one in first]) for name in first[0].columns}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, readout=np.array(readout), **arrays)
    return buffer.getvalue()
