"""Paths and URLs."""

import os
from pathlib import Path

Location = str | os.PathLike[str]

KINDS = ("s3", "gs", "hf")
"""Kinds of object storage, as URLs of them begin: S3 and what speaks it, Google Cloud Storage, the Hugging Face Hub."""


def is_remote(url: Location) -> bool:
    """Whether `url` names another machine's storage (`s3://…`) rather than a local path."""
    return "://" in os.fspath(url) and not os.fspath(url).startswith("file://")


def is_stored(url: Location) -> bool:
    """Whether `url` names an object on a kind of storage that is read and written here, and no page of the web."""
    return kind_of(url) in KINDS


def kind_of(url: Location) -> str:
    """How a URL begins: `s3`; nothing for a path."""
    kind, found, _ = os.fspath(url).partition("://")
    return kind if found else ""


def join(base: Location, *parts: str) -> str:
    """`base` with `parts` below it."""
    return "/".join([os.fspath(base).rstrip("/") or "/", *parts]).replace("//", "/", 1 if base == "/" else 0)


def absolute(url: Location) -> str:
    """A path as an absolute one, for processes that have another working folder; a URL of other storage as it is."""
    return os.fspath(url) if is_remote(url) else os.path.abspath(path_of(url))


def path_of(url: Location) -> Path:
    """The path of a local file, whose URL may be `file://…` or begin with `~`, which shells leave as it is behind a
    `=`."""
    return Path(os.fspath(url).removeprefix("file://")).expanduser()
