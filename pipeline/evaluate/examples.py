"""`evaluation_maps.npz`: a few samples with their maps, for the report.

frames    uint8 [n, K, K, 3]     what the model saw
maps      float32 [n, h, w]      of the readout of the row `model`
truths    bool [n, S, S]         what sounds, as it lies in the frames above; all false where nobody knows
hits      int8 [n]               1 where the map's maximum lies on what sounds, 0 where not, −1 where nobody knows
keys      str [n]
labels    str [n]                what sounds, joined by ", "
silent    str [n]                what is visible and silent, joined by ", "; empty where nobody knows
readout   str
"""

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cluster import storage
from pipeline.evaluate.metrics.pointing import points_at
from pipeline.evaluate.metrics.resize import Map, resize_seen
from pipeline.evaluate.samples import Batch

EXAMPLES = "evaluation_maps.npz"


@dataclass
class Examples:
    """The first samples that were evaluated, up to `limit`."""

    limit: int
    map_size: int
    align_corners: bool
    _columns: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, batch: Batch, maps: Map) -> None:
        """Keep samples of a batch with their maps [B, h, w] while there is room."""
        room = max(self.limit - len(self), 0)
        unknown = np.zeros((self.map_size, self.map_size), dtype=np.bool_)
        for place, metadata in enumerate(batch.metadata[:room]):
            truth, drawn = batch.truths[place], batch.truth_in_square(place)
            seen = resize_seen(maps[place], batch.squares[place], self.map_size, self.align_corners)
            silent = [name for name in metadata.visible or [] if name not in metadata.labels]
            row = {
                "frames": batch.middle[place].permute(1, 2, 0).cpu().numpy(),
                "maps": maps[place],
                "truths": unknown if drawn is None else drawn,
                "hits": np.int8(-1 if truth is None else points_at(seen, truth)),
                "keys": batch.keys[place],
                "labels": ", ".join(metadata.labels),
                "silent": ", ".join(silent),
            }
            for name, value in row.items():
                self._columns.setdefault(name, []).append(value)

    def __len__(self) -> int:
        return len(self._columns.get("keys", []))

    def write(self, url: str, readout: str) -> None:
        """Write the file; nothing where no samples were kept."""
        if not len(self):
            return
        buffer = io.BytesIO()
        arrays = {name: np.stack([np.asarray(value) for value in values]) for name, values in self._columns.items()}
        arrays["readout"] = np.array(readout)
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        storage.write_bytes(url, buffer.getvalue())
