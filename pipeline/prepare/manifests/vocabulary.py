"""Names of labels that a list gives as indices: the vocabulary of YouTube-8M."""

import csv

from cluster import storage
from cluster.masking import shown
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.list_file import ListFile
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.text import open_text

NAME = "vocabulary.csv"


class Vocabulary:
    """Index → name, from `vocabulary.csv` beside the list (columns `Index` and `Name`).

    Raises:
        ManifestError: there is none, or it has other columns.
    """

    def __init__(self, file: ListFile) -> None:
        url = file.beside(NAME)
        if not storage.exists(url):
            raise ManifestError(f"{file.url}: expected {NAME} beside it with the names of its labels, found none")
        self._file = file
        self._names: dict[str, str] = {}
        self._cells: dict[str, tuple[str, ...]] = {}
        with open_text(url) as text:
            rows = csv.DictReader(text, strict=True)
            if not {"Index", "Name"} <= set(rows.fieldnames or ()):
                raise ManifestError(f"{url}:1: expected columns Index and Name, found {shown(rows.fieldnames)}")
            try:
                for row in rows:  # a few entries have no name; their key of the knowledge graph is all there is
                    self._names[row["Index"]] = row["Name"] or row.get("KnowledgeGraphId") or row["Index"]
            except csv.Error as error:
                raise ManifestError(f"{url}:{rows.line_num}: expected CSV, found something else ({error})") from None

    def labels(self, cell: str) -> tuple[str, ...]:
        """Names of the indices in a cell, separated by spaces.

        Raises:
            WrongRow: an index that the vocabulary does not have.
        """
        found = self._cells.get(cell)
        if found is None:
            try:
                found = self._file.labels.of([self._names[index] for index in cell.split()])
            except KeyError as error:
                raise WrongRow(f"labels: expected indices of {NAME}, found {shown(error.args[0])}") from None
            if len(self._cells) >= _MOST_KEPT:
                self._cells.clear()
            self._cells[cell] = found
        return found


_MOST_KEPT = 100_000
