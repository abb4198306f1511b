"""A CSV with a header: `source` and any of `video`, `labels`, `split`, `boxes`, `visible`, `group`.

Several labels or visible things in a cell are separated by `;`; boxes are written as JSON. An empty cell is no value.
"""

import csv
import difflib
import io
import json
from typing import Any

from cluster import storage
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.raw_row import RawRow, check_row

_PLAIN = ("source", "video", "split", "group")
_LISTS = ("labels", "visible")
_COLUMNS = (*_PLAIN, *_LISTS, "boxes")


def read_csv(file: str) -> list[RawRow]:
    """Rows of a CSV manifest.

    Raises:
        ManifestError: a wrong header or row.
    """
    reader = csv.reader(io.StringIO(storage.read_text(file)), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, file)
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                place = f"{file}:{reader.line_num}"
                raise ManifestError(f"{place}: expected {len(header)} cells as in the header, found {len(cells)}")
            values = {name: cell.strip() for name, cell in zip(header, cells, strict=True) if cell.strip()}
            rows.append(check_row(_parse(values, f"{file}:{reader.line_num}"), file, reader.line_num))
    except csv.Error as error:
        raise ManifestError(f"{file}:{reader.line_num}: expected CSV, found something else ({error})") from None
    return rows


def _check_header(header: list[str], file: str) -> None:
    for name in header:
        if name not in _COLUMNS:
            near = difflib.get_close_matches(name, _COLUMNS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ManifestError(f"{file}:1: expected columns out of {', '.join(_COLUMNS)}, found {name!r}{hint}")
    if "source" not in header:
        raise ManifestError(f"{file}:1: expected a column named source, found {', '.join(header) or 'no header'}")
    if len(set(header)) != len(header):
        raise ManifestError(f"{file}:1: expected each column once, found {', '.join(header)}")


def _parse(cells: dict[str, str], place: str) -> dict[str, Any]:
    values: dict[str, Any] = {name: cells[name] for name in _PLAIN if name in cells}
    for name in _LISTS:
        if name in cells:
            values[name] = [part.strip() for part in cells[name].split(";") if part.strip()]
    if "boxes" in cells:
        try:
            values["boxes"] = json.loads(cells["boxes"])
        except json.JSONDecodeError:
            raise ManifestError(
                f"{place}: boxes: expected JSON such as [[0, 0, 1, 1]], found {cells['boxes']!r}"
            ) from None
    return values
