"""A plain list: a path, a URL or a YouTube id a line; empty lines and lines that start with `#` are passed over.

Paths are relative to the list. Eleven letters, digits, `_` or `-` without anything else are a YouTube id, and addresses
of YouTube pages are understood.
"""

from collections.abc import Iterator

from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.labels import check_utf8
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.sources import plain_name
from pipeline.prepare.manifests.split_name import split_of
from pipeline.prepare.manifests.values import is_youtube_id
from pipeline.prepare.manifests.wrong import WrongRow

_SUFFIXES = (".txt", ".lst", ".list", "")


def looks_like(head: Head) -> bool:
    """Named so; or one cell a row, the first of them a path, a URL or a YouTube id."""
    if head.suffix in _SUFFIXES:
        return True
    rows = head.rows
    return (
        head.suffix in (".csv", ".tsv")
        and bool(rows)
        and all(len(row) == 1 for row in rows)
        and ("/" in rows[0][0] or "." in rows[0][0] or is_youtube_id(rows[0][0]))
    )


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a plain list."""
    split = split_of(file.url)
    with file.open_text() as lines:
        for line, raw in enumerate(lines, 1):
            text = raw.strip()
            if not text or text[0] == "#":
                continue
            try:
                if is_youtube_id(text):
                    yield line, Naming.OWN, file.row_of_id(text, text, (), split)
                    continue
                check_utf8(text)
                source = file.source(text)
            except WrongRow as error:
                file.wrong(line, error)
                continue
            yield line, Naming.FILE, VideoRow(plain_name(source), source)
