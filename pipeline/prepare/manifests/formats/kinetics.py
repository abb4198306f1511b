"""Kinetics-400, -600 and -700: CSV with a header; lists of a test split may lack labels.

label,youtube_id,time_start,time_end,split
testifying,---QUuC4vJs,84,94,validate
"""

import sys
from collections.abc import Iterator

from pipeline.errors import ManifestError
from pipeline.prepare.manifests.csv_rows import csv_rows
from pipeline.prepare.manifests.head import Head, plain_column
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.values import cut_name, text_range, youtube_id

_NEEDED = ("youtube_id", "time_start", "time_end")


def looks_like(head: Head) -> bool:
    """Its header."""
    return set(_NEEDED) <= {plain_column(cell) for cell in head.cells}


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a Kinetics list.

    Raises:
        ManifestError: another header.
    """
    rows = csv_rows(file)
    line, header = next(rows, (1, []))
    header = [plain_column(name) for name in header]
    if not set(_NEEDED) <= set(header):
        raise ManifestError(
            f"{file.place(line)}: expected columns {', '.join(_NEEDED)}, found {', '.join(header) or 'none'}"
        )
    youtube_at, start_at, end_at = (header.index(name) for name in _NEEDED)
    label_at, split_at = (header.index(name) if name in header else None for name in ("label", "split"))
    for line, cells in rows:
        try:
            if len(cells) != len(header):
                raise WrongRow(f"expected {len(header)} cells as in the header, found {len(cells)}")
            youtube = youtube_id(cells[youtube_at])
            start_s, end_s = text_range(cells[start_at], cells[end_at], ("time_start", "time_end"))
            labels = file.labels.of([cells[label_at]] if label_at is not None and cells[label_at] else [])
            split = sys.intern(cells[split_at]) or None if split_at is not None else None
            row = file.row_of_id(cut_name(youtube, start_s), youtube, labels, split, start_s, end_s)
        except WrongRow as error:
            file.wrong(line, error)
            continue
        yield line, Naming.PART, row
