"""What is wrong with one row of a list."""

from typing import Any

from cluster.masking import mask_urls
from pipeline.errors import ManifestError

_LONGEST_SHOWN = 60


class WrongRow(Exception):
    """A row that can't be used: `expected …, found …`. The list that is read adds file and line."""


class NoVideosError(ManifestError):
    """Lists without a single row that can be used."""


def shown(value: Any) -> str:
    """A value as messages show it: on one line, without the secrets of URLs, and cut where it is long."""
    text = mask_urls(repr(value))
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 4]}...{text[-1]}"
