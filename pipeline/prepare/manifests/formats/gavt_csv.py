"""gavt's own list as CSV with a header: `source` and any of the keys of `own_row`; commas, semicolons, tabs or bars
separate its cells.

Several labels or visible things in a cell are separated by `;` or written as a JSON list; boxes and what is said of
segments are JSON. An empty cell is no value. A cell that is a JSON string stands for that string, so that spaces at its
ends count.
"""

import difflib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from cluster.json_text import parse_json
from cluster.masking import shown
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.csv_rows import csv_rows
from pipeline.prepare.manifests.head import Head, plain_column
from pipeline.prepare.manifests.list_file import Draft, ListFile
from pipeline.prepare.manifests.own_row import COLUMNS, own_row
from pipeline.prepare.manifests.row import SEGMENT_NAMES
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.values import number

_OTHER_NAMES = {
    **dict.fromkeys(("path", "file", "filename", "file_name", "filepath", "file_path", "video_path", "url"), "source"),
    **dict.fromkeys(("video_id", "id", "name"), "video"),
    **dict.fromkeys(("label", "class", "category"), "labels"),
    **dict.fromkeys(("start", "start_time", "begin"), "start_s"),
    **dict.fromkeys(("end", "end_time"), "end_s"),
    **dict.fromkeys(("audio", "audio_path"), "sound"),
}
"""What others call these columns."""


def looks_like(head: Head) -> bool:
    """A header with a source, or one of known columns only; or one that nothing but the names is wrong with."""
    cells = {plain_column(cell) for cell in head.cells}
    meant = {_OTHER_NAMES.get(cell, cell) for cell in cells}
    return "source" in cells or ({"source", "video"} & meant != set() and meant <= set(COLUMNS))


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a CSV list; it does not matter whether columns are written `Source` or `source`.

    Raises:
        ManifestError: a wrong header.
    """
    rows = csv_rows(file, many_lines=True)
    line, header = next(rows, (1, []))
    header = [plain_column(name) for name in header]
    _check_header(header, file, line)
    parsers: list[tuple[str, Callable[[str, str], Any]]] = [(name, _PARSERS[name]) for name in header]
    for line, cells in rows:
        try:
            if len(cells) != len(parsers):
                if not any(map(str.strip, cells)):
                    continue
                raise WrongRow(f"expected {len(parsers)} cells as in the header, found {len(cells)}")
            values = {}
            for (name, parse), cell in zip(parsers, cells, strict=True):
                text = cell.strip()
                if text:
                    values[name] = parse(text, name)
            if not values:
                continue
            naming, row = own_row(values, file)
        except WrongRow as error:
            file.wrong(line, error)
            continue
        yield line, naming, row


def _check_header(header: list[str], file: ListFile, line: int) -> None:
    place = file.place(line)
    for name in header:
        if name not in COLUMNS:
            other = _OTHER_NAMES.get(name)
            near = difflib.get_close_matches(name, COLUMNS, n=1) if other is None else [other]
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ManifestError(f"{place}: expected columns out of {', '.join(COLUMNS)}, found {name!r}{hint}")
    if "source" not in header and not (file.has_template and "video" in header):
        found = ", ".join(header) or "no header"
        raise ManifestError(
            f"{place}: expected a column named source (or video, and --source with the videos' place), found {found}"
        )
    if len(set(header)) != len(header):
        raise ManifestError(f"{place}: expected each column once, found {', '.join(header)}")


def _plain(text: str, name: str) -> Any:
    return _json(text, name) if text[0] == '"' else text


@lru_cache(maxsize=100_000)
def _list(text: str, name: str) -> Any:
    if text[0] == "[":
        return _json(text, name)
    return [part for part in map(str.strip, text.split(";")) if part]


def _json(text: str, name: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        examples = {"boxes": "[[0, 0, 1, 1]]", "segment_boxes": "[[[0, 0, 1, 1]], []]"}
        example = '[["violin"], []]' if name in SEGMENT_NAMES else examples.get(name, '["violin"]')
        raise WrongRow(f"{name}: expected JSON such as {example}, found {shown(text)}") from None


_PARSERS: dict[str, Callable[[str, str], Any]] = {
    **dict.fromkeys(("source", "video", "split", "group", "sound", "keypoints"), _plain),
    **dict.fromkeys(("labels", "visible"), _list),
    **dict.fromkeys(("start_s", "end_s", "frame_s"), number),
    **dict.fromkeys(("boxes", "segment_boxes", *SEGMENT_NAMES), _json),
}
