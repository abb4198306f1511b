"""Labels of millions of rows, each string and each combination held once."""

import sys
from collections.abc import Sequence
from typing import Any

from cluster.masking import shown
from pipeline.prepare.manifests.row_errors import WrongRow

_MOST_KEPT = 100_000
"""Combinations that are remembered; lists with free text as labels have no end of them."""


class Labels:
    """Makes tuples of labels; equal ones are the same object."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], tuple[str, ...]] = {}

    def of(self, names: Sequence[str]) -> tuple[str, ...]:
        """The tuple of these labels."""
        found = tuple(names)
        kept = self._kept.get(found)
        if kept is None:
            for name in found:
                check_utf8(name)
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            kept = self._kept[found] = tuple(map(sys.intern, found))
        return kept

    def checked(self, value: Any, name: str) -> tuple[str, ...]:
        """The tuple of a list as JSON or Parquet has it.

        Raises:
            WrongRow: something else than a list of strings.
        """
        if type(value) is not list:
            raise WrongRow(f"{name}: expected a list, found {shown(value)}")
        try:
            kept = self._kept.get(tuple(value))
        except TypeError:  # an entry that can't be a key is no string
            kept = None
        if kept is not None:
            return kept
        for place, entry in enumerate(value):
            if type(entry) is not str:
                raise WrongRow(f"{name}.{place}: expected a string, found {shown(entry)}")
        return self.of(value)


def check_utf8(text: str) -> None:
    """Raise WrongRow for text that was no UTF-8 where it was read."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        byte = f"byte 0x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"half a character (\\u{code:04x})"
        hint = "; save the list as UTF-8" if 0xDC80 <= code <= 0xDCFF else ""
        around = text[max(0, error.start - 20) : error.start + 20]
        raise WrongRow(f"expected UTF-8 text, found {byte} in {shown(around)}{hint}") from None
