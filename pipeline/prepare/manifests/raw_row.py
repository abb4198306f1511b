"""A row as it stands in a list file, checked."""

import os
from typing import Any

from pydantic import Field, ValidationError

from cluster import storage
from pipeline.errors import ManifestError
from pipeline.samples.metadata import Box
from pipeline.settings.base import Settings


class RawRow(Settings):
    """A row before its id is settled."""

    source: str = Field(min_length=1)
    video: str | None = Field(default=None, min_length=1)
    labels: list[str] = Field(default_factory=list)
    split: str | None = None
    boxes: list[Box] | None = None
    visible: list[str] | None = None
    group: str | None = None
    extra: Any = None
    """Whatever else somebody wants to keep there; not read."""
    place: str
    """File and line that it came from, for messages."""


def check_row(values: dict[str, Any], file: str, line: int) -> RawRow:
    """A checked row of line `line` of `file`; its source becomes absolute.

    Raises:
        ManifestError: an unknown key, a wrong type, no source.
    """
    place = f"{file}:{line}"
    if "place" in values:
        raise ManifestError(f"{place}: expected only known keys ({_known()}), found 'place'")
    try:
        row = RawRow(**values, place=place)
    except (ValidationError, TypeError) as error:
        raise ManifestError(f"{place}: {_explain(error)}") from None
    return row.model_copy(update={"source": _absolute(row.source, file)})


def _absolute(source: str, file: str) -> str:
    source = source.removeprefix("file://")
    if storage.is_remote(source) or os.path.isabs(source):
        return source
    folder = file.rsplit("/", 1)[0]
    return storage.join(folder, source) if storage.is_remote(file) else os.path.normpath(os.path.join(folder, source))


def _known() -> str:
    return ", ".join(name for name in RawRow.model_fields if name != "place")


def _explain(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return "expected keys that are words"
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"expected only known keys ({_known()}; put others under extra), found {name!r}"
    if problem["type"] == "missing":
        return f"{name}: expected a value, found none"
    expected = problem["msg"].removeprefix("Input should be ")
    return f"{name}: expected {expected}, found {problem['input']!r}"
