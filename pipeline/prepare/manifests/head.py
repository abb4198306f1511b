"""The beginning of a list file, by which its format is recognised."""

import csv
import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.prepare.manifests.text import open_text

_CHARACTERS = 1 << 16
_LINES = 20
_DELIMITERS = (",", ";", "\t", "|")
_KNOWN_NAMES = frozenset(("source", "video", "youtube_id", "ytid", "vid"))
"""Columns by which the lists that have a header are known."""


@dataclass(frozen=True)
class Head:
    """What is known of a list before it is read.

    Attributes:
        name: the file's name in lower case, without `.gz`.
        lines: its first lines that are not empty, without spaces around them.
        start: its first characters, without spaces before them.
    """

    name: str
    lines: tuple[str, ...]
    start: str

    @property
    def suffix(self) -> str:
        """`.csv`."""
        return os.path.splitext(self.name)[1]

    @property
    def first(self) -> str:
        """The first line; empty if the file is."""
        return self.lines[0] if self.lines else ""

    @cached_property
    def delimiter(self) -> str:
        """What separates cells: a comma unless the header has known names, or each line as many cells, only with a
        semicolon, a tab or a bar."""
        lines = [line for line in self.lines if not line.startswith("#")]
        for delimiter in _DELIMITERS:
            if lines and _KNOWN_NAMES & {plain_column(cell) for cell in _cells(lines[0], delimiter)}:
                return delimiter
        counts = {delimiter: {len(_cells(line, delimiter)) for line in lines} for delimiter in _DELIMITERS}
        even = [delimiter for delimiter in _DELIMITERS if len(counts[delimiter]) == 1 and counts[delimiter] != {1}]
        return even[0] if "," in even or len(even) == 1 else ","

    @cached_property
    def rows(self) -> list[list[str]]:
        """Cells of the first lines that are no comments, as CSV."""
        return [_cells(line, self.delimiter) for line in self.lines if not line.startswith("#")]

    @property
    def cells(self) -> list[str]:
        """Cells of the first row."""
        return next(iter(self.rows), [])

    @property
    def first_entry(self) -> Any:
        """The first entry of a JSON list; None if it is none."""
        if not self.start.startswith("["):
            return None
        begin = len(self.start) - len(self.start[1:].lstrip())
        try:
            return json.JSONDecoder().raw_decode(self.start, begin)[0]
        except (ValueError, RecursionError):
            return None


def read_head(url: str) -> Head:
    """The beginning of a list file.

    Raises:
        ManifestError: it can't be read.
    """
    with open_text(url) as text:
        start = text.read(_CHARACTERS)
    lines = [line for line in map(str.strip, start.splitlines()) if line]
    if len(start) == _CHARACTERS and len(lines) > 1:
        lines.pop()  # cut off somewhere
    name = url.rpartition("/")[2].lower().removesuffix(".gz")
    return Head(name, tuple(lines[:_LINES]), start.lstrip())


def plain_column(name: str) -> str:
    """A column's name as it is compared: `Video ID ` is `video_id`."""
    return "_".join(name.strip().lower().replace("-", " ").split())


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], skipinitialspace=delimiter != "\t", delimiter=delimiter), [])
    except csv.Error:  # such as a zero byte, for older versions of Python
        return []
