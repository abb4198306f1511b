"""Ids of videos of any kind, alone or with a label; numbers behind an id (Flickr-SoundNet) are no labels.

    sample0000,accordion
    10000130166,202
    HnUOaSfTA6c_000_00000

Where they are no YouTube ids, `--source` has to say where the videos lie. The split is in the file's name.
"""

import re
from collections.abc import Iterator

from cluster.masking import shown
from pipeline.prepare.manifests.csv_rows import csv_rows
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.splits import split_of
from pipeline.prepare.manifests.values import is_youtube_id

_ID = re.compile(r"[A-Za-z0-9_-]+").fullmatch


def looks_like(head: Head) -> bool:
    """One or two cells in all first rows, the first of them an id with a digit in it somewhere, and no path."""
    rows = head.rows
    return (
        head.suffix == ".csv"
        and bool(rows)
        and all(len(row) in (1, 2) and _ID(row[0]) for row in rows)
        and any(map(str.isdigit, rows[0][0]))
    )


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a list of ids."""
    split = split_of(file.url)
    for line, cells in csv_rows(file):
        if cells[0].startswith("#"):
            continue
        try:
            if len(cells) > 2:
                raise WrongRow(f"expected an id and perhaps a label, found {len(cells)} cells")
            video = cells[0].strip()
            if not _ID(video):
                raise WrongRow(f"expected an id (letters, digits, _ or -), found {shown(cells[0])}")
            labels = file.labels.of([label for label in cells[1:] if label and not label.isdigit()])
            row = file.row_of_id(video, video if is_youtube_id(video) else None, labels, split)
        except WrongRow as error:
            file.wrong(line, error)
            continue
        yield line, Naming.OWN, row
