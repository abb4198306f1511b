"""YouTube-8M: its own ids of four characters, one a line, alone or with indices of `vocabulary.csv` beside the list.

    nXSc
    nXSc,3 4 10

YouTube's ids behind them are looked up when the videos are downloaded (https://research.google.com/youtube8m).
"""

import re
from collections.abc import Iterator

from cluster.masking import shown
from pipeline.prepare.manifests.csv_rows import csv_rows
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.splits import split_of
from pipeline.prepare.manifests.vocabulary import NAME, Vocabulary

COMPANIONS = (NAME,)
_ID = re.compile(r"[A-Za-z0-9_-]{4}").fullmatch
_HEADERS = ({"id"}, {"id", "labels"}, {"vid", "labels"}, {"video_id"})


def looks_like(head: Head) -> bool:
    """All first lines hold an id of four characters, and at most numbers behind it."""
    rows = head.rows[1:] if set(head.cells) in _HEADERS else head.rows
    return bool(rows) and all(
        _ID(row[0]) and (len(row) == 1 or (len(row) == 2 and (not row[1] or row[1].replace(" ", "").isdigit())))
        for row in rows
    )


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a list of YouTube-8M ids."""
    vocabulary: Vocabulary | None = None
    split = split_of(file.url)
    for line, cells in csv_rows(file):
        video = cells[0].strip()
        if video.startswith("#") or (line == 1 and set(cells) in _HEADERS):
            continue
        try:
            if len(cells) > 2:
                raise WrongRow(f"expected an id and its labels, found {len(cells)} cells")
            if not _ID(video):
                raise WrongRow(f"expected an id of YouTube-8M (4 letters, digits, _ or -), found {shown(video)}")
            labels: tuple[str, ...] = ()
            if len(cells) == 2 and cells[1]:
                vocabulary = vocabulary or Vocabulary(file)
                labels = vocabulary.labels(cells[1])
            row = file.row_of_id(video, None, labels, split, download=f"youtube8m:{video}")
        except WrongRow as error:
            file.wrong(line, error)
            continue
        yield line, Naming.OWN, row
