"""MUSIC-200k: `vid,labels` with YouTube ids and indices of `vocabulary.csv`, which lies beside the list.

    8TdeRhBNuHI,3 4 9 37 282

The split is in the file's name (`MUSIC200k-train.csv`).
"""

from collections.abc import Iterator

from pipeline.prepare.manifests.csv_rows import csv_rows
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.splits import split_of
from pipeline.prepare.manifests.values import is_youtube_id, youtube_id
from pipeline.prepare.manifests.vocabulary import NAME, Vocabulary

HEADER = ["vid", "labels"]
COMPANIONS = (NAME,)


def looks_like(head: Head) -> bool:
    """Its header, or YouTube ids with numbers behind them."""
    rows = head.rows[1:] if head.cells == HEADER else head.rows
    return bool(rows) and all(
        len(row) == 2 and is_youtube_id(row[0]) and row[1].replace(" ", "").isdigit() for row in rows
    )


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a MUSIC-200k list."""
    vocabulary, split = Vocabulary(file), split_of(file.url)
    for line, cells in csv_rows(file):
        if line == 1 and cells == HEADER:
            continue
        try:
            if len(cells) != 2:
                raise WrongRow(f"expected 2 cells (vid,labels), found {len(cells)}")
            youtube = youtube_id(cells[0])
            row = file.row_of_id(youtube, youtube, vocabulary.labels(cells[1]), split)
        except WrongRow as error:
            file.wrong(line, error)
            continue
        yield line, Naming.OWN, row
