"""Whole files: bytes, text, JSON, and their hash."""

import hashlib
import os
from typing import Any

from cluster.errors import StorageError
from cluster.json_text import parse_json
from cluster.storage.filesystems import open_filesystem
from cluster.storage.location import Location, path_of
from cluster.storage.plain_errors import said_plainly


def read_bytes(url: Location) -> bytes:
    """The whole content of a file."""
    filesystem, path = open_filesystem(url)
    with said_plainly("read", url):
        return bytes(filesystem.cat_file(path))


def read_text(url: Location) -> str:
    """The whole content of a UTF-8 text file (a byte-order mark is dropped)."""
    try:
        return read_bytes(url).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StorageError(f"{os.fspath(url)}: expected UTF-8 text, found byte {error.start} that is none") from None


def read_json(url: Location) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        StorageError: something else is in the file.
    """
    try:
        content = parse_json(read_text(url))
    except ValueError as error:
        raise StorageError(f"{os.fspath(url)}: expected JSON: {error}") from None
    if not isinstance(content, dict):
        raise StorageError(f"{os.fspath(url)}: expected a JSON object, found {type(content).__name__}")
    return content


def sha256(path: Location) -> str:
    """SHA-256 of a local file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with said_plainly("read", path), path_of(path).open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
