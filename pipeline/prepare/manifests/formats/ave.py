"""AVE: `Annotations.txt`, and the official splits in `{train,val,test}_order.h5` beside it.

    Category&VideoID&Quality&StartTime&EndTime
    Church bell&RUhOCu3LNXM&good&0&10

Each video is a file of 10 s, a part of a longer one on YouTube that the list does not place: its files come with the
dataset (`--source /data/AVE/{video}.mp4`). The category sounds from start to end, whole seconds of those ten; they
become the labels of ten segments. A video that stands there with two categories is two examples.

The order files hold numbers of rows, counted from 0 and without the header.
"""

import io
from collections.abc import Iterator

from cluster import storage
from cluster.masking import shown
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.values import is_youtube_id, number, youtube_id

SEGMENTS = 10
_HEADER = ["Category", "VideoID", "Quality", "StartTime", "EndTime"]
_SPLITS = ("train", "val", "test")
COMPANIONS = tuple(f"{split}_order.h5" for split in _SPLITS)


def looks_like(head: Head) -> bool:
    """Five values with `&` between them."""
    rows = [line.split("&") for line in head.lines]
    if rows and rows[0] == _HEADER:
        return True
    return bool(rows) and all(len(row) == 5 and is_youtube_id(row[1]) for row in rows)


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of AVE's annotations."""
    splits = _splits(file)
    with file.open_text() as lines:
        number_of_row = -1
        for line, text in enumerate(lines, 1):
            cells = text.strip().split("&")
            if cells in ([""], _HEADER):
                continue
            number_of_row += 1
            try:
                row = _row(cells, splits.get(number_of_row), file)
            except WrongRow as error:
                file.wrong(line, error)
                continue
            yield line, Naming.PART, row


def _row(cells: list[str], split: str | None, file: ListFile) -> VideoRow:
    if len(cells) != 5:
        raise WrongRow(f"expected 5 values ({'&'.join(_HEADER)}), found {len(cells)}")
    category, video, _, start, end = cells
    youtube = youtube_id(video)
    first, last = _second(start, "StartTime"), _second(end, "EndTime")
    if last < first:
        raise WrongRow(f"EndTime: expected no time before StartTime ({first}), found {last}")
    sounds, nothing = file.labels.of([category]), file.labels.of([])
    segments = tuple(sounds if first <= second < last else nothing for second in range(SEGMENTS))
    return file.row_of_id(youtube, youtube, sounds, split, download="", segment_labels=segments)


def _second(text: str, name: str) -> int:
    value = number(text, name)
    if value != int(value) or not 0 <= value <= SEGMENTS:
        raise WrongRow(f"{name}: expected whole seconds from 0 to {SEGMENTS}, found {shown(text)}")
    return int(value)


def _splits(file: ListFile) -> dict[int, str]:
    """Row → split; rows of no split where the order files are not there."""
    import h5py  # takes a while, which other lists need not wait for

    splits: dict[int, str] = {}
    for split, name in zip(_SPLITS, COMPANIONS, strict=True):
        url = file.beside(name)
        if not storage.exists(url):
            continue
        try:
            with h5py.File(io.BytesIO(storage.read_bytes(url)), "r") as content:
                order = content["order"][()].astype(int)
        except (OSError, KeyError, ValueError) as error:
            raise ManifestError(f"{url}: expected an HDF5 file with row numbers named order, found {error}") from None
        for row in order.ravel().tolist():
            if splits.setdefault(row, split) != split:
                raise ManifestError(
                    f"{url}: expected rows of one split only, found row {row} that is in {splits[row]} too"
                )
    return splits
