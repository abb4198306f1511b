"""Rows of a CSV, one after the other, going on behind a broken one."""

import csv
from collections import deque
from collections.abc import Iterator

from cluster.masking import shown
from pipeline.prepare.manifests.labels import check_utf8
from pipeline.prepare.manifests.list_file import ListFile
from pipeline.prepare.manifests.row_errors import WrongRow


def csv_rows(file: ListFile, *, skip_spaces: bool = False, many_lines: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row that is not empty.

    Args:
        skip_spaces: spaces behind a delimiter do not count.
        many_lines: quoted cells may go over several lines.

    Raises:
        ManifestError: a quote that does not close (the row is left out where wrong rows are).
    """
    with file.open_text() as text:
        lines = _Lines(text, many_lines)
        reader = csv.reader(lines, strict=True, skipinitialspace=skip_spaces, delimiter=file.delimiter)
        while True:
            lines.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, WrongRow) as error:
                line = lines.first
                lines.give_back()
                sentence = error if isinstance(error, WrongRow) else f"expected CSV, found something else ({error})"
                file.wrong(line, sentence)
                continue
            if cells:
                yield lines.first, cells


class _Lines:
    """Lines of a text; those of a broken row, from its second on, are handed out once more."""

    def __init__(self, text: Iterator[str], many_lines: bool) -> None:
        self.first = 0
        self._text, self._many = text, many_lines
        self._row: list[str] = []
        self._again: deque[str] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._row and not self._many:
            raise WrongRow(
                f"expected CSV with a row a line, found a quote that does not close: {shown(self._row[0].strip())}"
            )
        line = self._again.popleft() if self._again else next(self._text)
        self._row.append(line)
        if not line.isascii():
            check_utf8(line)
        return line

    def begin_row(self) -> None:
        """Forget the row before."""
        self.first += len(self._row) or 1
        self._row.clear()

    def give_back(self) -> None:
        """Hand the row out again without its first line."""
        self._again.extendleft(reversed(self._row[1:]))
        del self._row[1:]
