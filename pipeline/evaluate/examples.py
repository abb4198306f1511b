"""`evaluation_maps.npz`: some samples with their maps and sounds, for the report; `evaluate.examples` says how many.

frames      uint8 [n, K, K, 3]   what the model saw
maps        float32 [n, h, w]    of the readout of the row `model`
rows        float64 [n, h]       where the maps' values lie in the frame, in 0–1 of its height …
columns     float64 [n, w]       … and of its width
truths      bool [n, S, S]       what sounds, as it lies in the frames above; all false where nobody knows
hits        int8 [n]             1 where the map's maximum lies on what sounds, 0 where not, −1 where nobody knows
ciou        float32 [n]          of the map's upper half, and …
ciou_adap   float32 [n]          … of as much of it as the truth has; NaN where nobody knows
keys        str [n]
labels      str [n]              what sounds, a line each
silent      str [n]              what is visible and silent, a line each; empty where nobody knows
sounds      uint8 [bytes]        what the model heard, MP3s one behind the other …
sound_ends  int64 [n]            … and where each ends; of a model that takes no sound all are empty
token_maps, token_names, keypoints, masks: as of `pipeline.evaluate.views`
readout     str
"""

import io
import zipfile
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cluster import storage
from pipeline.errors import RunError
from pipeline.evaluate.metrics.resize import Centres, Map, resize_seen
from pipeline.evaluate.metrics.scores import score_map
from pipeline.evaluate.playable import encode_mp3
from pipeline.evaluate.samples import EvaluationBatch
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.evaluate.views import Views
from pipeline.features.inputs import SOUND

EXAMPLES = "evaluation_maps.npz"
_ARRAYS = (
    *("frames", "maps", "rows", "columns", "truths", "hits", "ciou", "ciou_adap"),
    *("keys", "labels", "silent", "sounds", "sound_ends", "readout"),
    *("token_maps", "token_names", "keypoints", "masks"),
)


@dataclass(frozen=True)
class Example:
    """A sample with its map.

    Attributes:
        index: where it lies in the shard set.
        located: whether it has boxes.
        columns: what is kept of it, by the names of the file.
        sound: MP3; nothing of a model that takes no sound.
    """

    index: int
    located: bool
    columns: dict[str, Any]
    sound: bytes


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
    batch: EvaluationBatch,
    place: int,
    heat: Map,
    centres: Centres | None,
    views: Views,
    settings: EvaluateSettings,
    rate_hz: int,
) -> Example:
    """A sample of a batch with its map [h, w], and where the map's values lie (None: evenly).

    Args:
        views: what else the model makes of it.
        rate_hz: of the batch's sounds.
    """
    metadata, truth, drawn = batch.metadata[place], batch.truths[place], batch.truth_in_square(place)
    seen = resize_seen(heat, batch.squares[place], settings.map_size, settings.align_corners, centres)
    placed = centres or Centres.even(*heat.shape)
    score = None if truth is None else score_map(seen, truth)
    silent = [name for name in metadata.visible or [] if name not in metadata.labels]
    sound = batch.inputs[SOUND][place].mean(0).cpu().numpy() if SOUND in batch.inputs else None
    columns = {
        "frames": batch.middle[place].permute(1, 2, 0).cpu().numpy(),
        "maps": heat,
        "rows": np.array(placed.rows),
        "columns": np.array(placed.columns),
        "truths": np.zeros((settings.map_size, settings.map_size), dtype=np.bool_) if drawn is None else drawn,
        "hits": np.int8(-1 if score is None else score.pointing),
        "ciou": np.float32(np.nan if score is None else score.ciou),
        "ciou_adap": np.float32(np.nan if score is None else score.ciou_adap),
        "keys": batch.keys[place],
        "labels": "\n".join(metadata.labels),
        "silent": "\n".join(silent),
        **views,
    }
    mp3 = b"" if sound is None else encode_mp3(sound.astype(np.float32), rate_hz)
    return Example(batch.indices[place], truth is not None, columns, mp3)


def as_npz(examples: Sequence[Example], limit: int, readout: str) -> bytes:
    """The file of the first of these examples: of samples with boxes, and of others where those don't suffice."""
    first = sorted(examples, key=lambda one: (not one.located, one.index))[:limit]
    arrays = {name: np.stack([np.asarray(one.columns[name]) for one in first]) for name in first[0].columns}
    arrays["sounds"] = np.frombuffer(b"".join(one.sound for one in first), np.uint8)
    arrays["sound_ends"] = np.cumsum([len(one.sound) for one in first])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, readout=np.array(readout), **arrays)
    return buffer.getvalue()


def read_examples(folder: str) -> Mapping[str, npt.NDArray[Any]] | None:
    """What an evaluation left in its folder, by the names of the file; None where it kept no examples.

    Raises:
        RunError: the file is damaged, or lacks something.
    """
    url = storage.join(folder, EXAMPLES)
    if not storage.exists(url):
        return None
    try:
        with np.load(io.BytesIO(storage.read_bytes(url)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{url}: damaged ({str(error).splitlines()[0]}); gavt evaluate writes it anew") from None
    if missing := [name for name in _ARRAYS if name not in arrays]:
        raise RunError(f"{url}: has no {missing[0]}; gavt evaluate writes it anew")
    return arrays
