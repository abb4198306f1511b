"""What is wrong with one row of a list."""

from pipeline.errors import ManifestError


class WrongRow(Exception):
    """A row that can't be used: `expected …, found …`. The list that is read adds file and line."""


class NoVideosError(ManifestError):
    """Lists without a single row that can be used."""
