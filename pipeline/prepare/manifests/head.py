"""The beginning of a list file, by which its format is recognised."""

import csv
import json
import os
from dataclasses import dataclass
from typing import Any

from pipeline.prepare.manifests.text import open_text

_CHARACTERS = 1 << 16
_LINES = 20


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

    @property
    def rows(self) -> list[list[str]]:
        """Cells of the first lines that are no comments, as CSV."""
        lines = [line for line in self.lines if not line.startswith("#")]
        return [_cells(line) for line in lines]

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


def _cells(line: str) -> list[str]:
    return next(csv.reader([line], skipinitialspace=True), [])
