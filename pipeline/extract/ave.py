"""AVE's published features as shard sets (Tian et al., "Audio-visual event localization in unconstrained videos",
ECCV 2018).

FOLDER/visual_feature.h5          avadataset [N, 10, 7, 7, 512], pool5 of VGG-19 of each second
FOLDER/audio_feature.h5           avadataset [N, 10, 128], VGGish
FOLDER/labels.h5                  avadataset [N, 10, 29], one of 28 events or, last, background
FOLDER/{train,val,test}_order.h5  order [n], numbers of rows

OUT/train, OUT/validation, OUT/test    shard sets of `visual.npy` and `audio.npy`
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from cluster import storage
from cluster.scratch import scratch_folder
from pipeline.errors import ShardSetError
from pipeline.extract.ledger import entries_after
from pipeline.extract.new_set import NewSet
from pipeline.prepare.plan import hash_of
from pipeline.samples.metadata import SampleMetadata
from pipeline.shards.array_file import SUFFIX, encode_array
from pipeline.shards.dataset import Dataset
from pipeline.shards.ledger import InputEntry
from pipeline.shards.shard_files import publish_shard, shard_name
from pipeline.shards.writer import ShardWriter

SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""AVE's name of a split → that of its set."""
EVENTS = (
    "Church bell", "Male speech, man speaking", "Bark", "Fixed-wing aircraft, airplane", "Race car, auto racing",
    "Female speech, woman speaking", "Helicopter", "Violin, fiddle", "Flute", "Ukulele", "Frying (food)", "Truck",
    "Shofar", "Motorcycle", "Acoustic guitar", "Train horn", "Clock", "Banjo", "Goat", "Baby cry, infant cry", "Bus",
    "Chainsaw", "Cat", "Horse", "Toilet flush", "Rodents, rats, mice", "Accordion", "Mandolin",
)  # fmt: skip
"""In the order of the labels' columns."""
SEGMENTS = 10
_ARRAY, _ORDER = "avadataset", "order"
_LABELS = "labels.h5"
_FEATURES = {"visual": "visual_feature.h5", "audio": "audio_feature.h5"}
_PER_SHARD = 100

OnProgress = Callable[[int, int], None]
"""Samples that were done since it was last told, and all that there are."""


def convert_ave(
    folder: str,
    out: str,
    dtype: Literal["float16", "float32"] = "float16",
    on_progress: OnProgress = lambda done, total: None,
) -> Mapping[str, Dataset]:
    """Write the sets of AVE's splits, or what is missing of them; gives the totals of each.

    Args:
        folder: with AVE's files (path or URL).
        dtype: that features are stored in.
        on_progress: told after each sample.

    Raises:
        ShardSetError: a file of something else, or other sets at `out`.
        StorageError: no such file.
    """
    with _opened(folder) as files:
        total = sum(len(rows) for rows in files.orders.values())
        on_progress(0, total)
        return {
            split: _convert(files, split, storage.join(out, split), dtype, on_progress, total) for split in files.orders
        }


@dataclass(frozen=True)
class _Files:
    """AVE's files, opened.

    Attributes:
        labels: [N, 10, 29].
        orders: of each split, numbers of its rows.
    """

    folder: str
    features: Mapping[str, Any]
    labels: npt.NDArray[np.float32]
    orders: Mapping[str, list[int]]

    def metadata(self, row: int, split: str) -> SampleMetadata:
        names = [[EVENTS[event] for event in np.flatnonzero(one[: len(EVENTS)] > 0.5)] for one in self.labels[row]]
        return SampleMetadata(
            layout="segments",
            video=_video(row),
            source=self._source(row),
            frame_times_s=[place + 0.5 for place in range(SEGMENTS)],
            audio_start_s=0.0,
            audio_rate_hz=0,
            audio_samples=0,
            labels=list(dict.fromkeys(name for segment in names for name in segment)),
            split=split,
            segment_labels=names,
        )

    def entry(self, row: int) -> InputEntry:
        return InputEntry(video=_video(row), source=self._source(row), status="ok", attempts=1, samples=1)

    def _source(self, row: int) -> str:
        return f"{storage.join(self.folder, _FEATURES['visual'])}#{row}"


def _video(row: int) -> str:
    return f"ave{row:04d}"


@contextmanager
def _opened(folder: str) -> Iterator[_Files]:
    with ExitStack() as stack:

        def open_array(name: str, array: str = _ARRAY) -> Any:
            url = storage.join(folder, name)
            copy = stack.enter_context(storage.local_copy(url))
            try:
                return stack.enter_context(h5py.File(copy, "r"))[array]
            except (OSError, KeyError) as error:
                raise ShardSetError(f"{url}: expected HDF5 with an array {array}: {error}") from None

        features = {name: open_array(file) for name, file in _FEATURES.items()}
        labels = open_array(_LABELS)
        expected = {_FEATURES["visual"]: (features["visual"], 5), _FEATURES["audio"]: (features["audio"], 3)}
        for name, (array, axes) in (expected | {_LABELS: (labels, 3)}).items():
            if array.ndim != axes or array.shape[:2] != (len(labels), SEGMENTS):
                raise ShardSetError(
                    f"{storage.join(folder, name)}: expected {_ARRAY} of {len(labels)} rows of {SEGMENTS} segments, "
                    f"{axes} axes in all, found {list(array.shape)}"
                )
        if labels.shape[2] != len(EVENTS) + 1:
            raise ShardSetError(
                f"{storage.join(folder, _LABELS)}: expected {len(EVENTS) + 1} labels, found {labels.shape[2]}"
            )
        orders = {}
        for split, ours in SPLITS.items():
            rows = open_array(f"{split}_order.h5", _ORDER)[:].astype(int).ravel().tolist()
            wrong = next((row for row in rows if not 0 <= row < len(labels)), None)
            if wrong is not None:
                place = storage.join(folder, f"{split}_order.h5")
                raise ShardSetError(f"{place}: expected numbers of {len(labels)} rows, found {wrong}")
            orders[ours] = rows
        yield _Files(folder, features, labels[:].astype(np.float32), orders)


def _convert(files: _Files, split: str, out: str, dtype: str, on_progress: OnProgress, total: int) -> Dataset:
    rows = files.orders[split]
    shards = [rows[first : first + _PER_SHARD] for first in range(0, len(rows), _PER_SHARD)]
    shapes = {f"{name}.{SUFFIX}": list(array.shape[1:]) for name, array in files.features.items()}
    described = {"from": "ave", "members": {name: {"shape": shape} for name, shape in shapes.items()}, "dtype": dtype}
    sizes = [storage.size(storage.join(files.folder, name)) for name in _FEATURES.values()]
    contents = hash_of([sizes, rows, files.labels[rows].astype(int).tolist()])
    new = NewSet(out, described, files.folder, contents, "segments", len(rows), len(shards))
    with ExitStack() as stack:
        for number in new.open(stack, lambda done: []) or ():
            new.lease.check()
            _write_shard(files, split, out, number, shards[number], dtype, lambda: on_progress(1, total))
        return new.finish()


def _write_shard(
    files: _Files, split: str, out: str, number: int, rows: list[int], dtype: str, on_sample: Callable[[], None]
) -> None:
    problems: list[str | None] = []
    with scratch_folder("gavt-features-") as scratch:
        path = scratch / f"{shard_name(number)}.tar"
        with ShardWriter(path) as shard:
            for row in rows:
                arrays = {name: array[row].astype(dtype) for name, array in files.features.items()}
                wrong = [name for name, values in arrays.items() if not np.isfinite(values).all()]
                problems.append(
                    f"expected numbers in {_FEATURES[wrong[0]]}, found some that are none" if wrong else None
                )
                if not wrong:
                    members = {f"{name}.{SUFFIX}": encode_array(values) for name, values in arrays.items()}
                    text = files.metadata(row, split).model_dump_json()
                    shard.add(f"{_video(row)}_0000", {"json": text.encode(), **members})
                on_sample()
        inputs = entries_after([files.entry(row) for row in rows], problems, {})
        publish_shard(out, number, path, shard.index(inputs))
