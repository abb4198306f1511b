"""AudioSet: YouTube id, start and end of a range, and a quoted list of labels; lines with `#` are comments.

    # YTID, start_seconds, end_seconds, positive_labels
    --PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"

Labels become names where `class_labels_indices.csv` (`index,mid,display_name`) lies beside the list. The split is in
the file's name (`balanced_train_segments.csv`).
"""

import csv
from collections.abc import Iterator

from cluster import storage
from cluster.masking import shown
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.csv_rows import csv_rows
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.splits import split_of
from pipeline.prepare.manifests.text import open_text
from pipeline.prepare.manifests.values import cut_name, is_youtube_id, text_range, youtube_id

_NAMES = "class_labels_indices.csv"
COMPANIONS = (_NAMES,)
_HEADER = ["YTID", "start_seconds", "end_seconds", "positive_labels"]


def looks_like(head: Head) -> bool:
    """Its header, as a comment or not, or an id, two numbers and machine ids."""
    if any([cell.strip() for cell in line.lstrip("# ").split(",")] == _HEADER for line in head.lines):
        return True
    row = head.cells
    return len(row) == 4 and is_youtube_id(row[0]) and row[3].strip().startswith(("/m/", "/t/", "/g/"))


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of an AudioSet list."""
    names, split = _display_names(file), split_of(file.url)
    for line, cells in csv_rows(file, skip_spaces=True):
        if cells[0].startswith("#") or cells == _HEADER:
            continue
        try:
            if len(cells) != 4:
                raise WrongRow(f"expected 4 cells ({', '.join(_HEADER)}), found {len(cells)}")
            youtube = youtube_id(cells[0].strip())
            start_s, end_s = text_range(cells[1], cells[2], ("start_seconds", "end_seconds"))
            labels = file.labels.of([names.get(label, label) for label in map(str.strip, cells[3].split(",")) if label])
            row = file.row_of_id(cut_name(youtube, start_s), youtube, labels, split, start_s, end_s)
        except WrongRow as error:
            file.wrong(line, error)
            continue
        yield line, Naming.PART, row


def _display_names(file: ListFile) -> dict[str, str]:
    url = file.beside(_NAMES)
    if not storage.exists(url):
        return {}
    with open_text(url) as text:
        rows = csv.DictReader(text, strict=True)
        if not {"mid", "display_name"} <= set(rows.fieldnames or ()):
            raise ManifestError(f"{url}:1: expected columns mid and display_name, found {shown(rows.fieldnames)}")
        try:
            return {row["mid"]: row["display_name"] for row in rows}
        except csv.Error as error:
            raise ManifestError(f"{url}:{rows.line_num}: expected CSV, found something else ({error})") from None
