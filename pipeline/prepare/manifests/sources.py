"""Sources as lists write them, and names made from them."""

import hashlib
import os
import re

from cluster import storage
from cluster.masking import mask_url
from cluster.storage.file_url import is_file_url, path_of_file_url
from pipeline.prepare.manifests.row_errors import WrongRow

_YOUTUBE_URL = re.compile(
    r"https?://(?:(?:www\.|m\.|music\.)?youtube\.com/(?:watch\?(?:[^#]*&)?v=|shorts/|embed/|live/|v/)|youtu\.be/)"
    r"([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])"
)
_ID = re.compile(r"(?:youtube|youtube8m):[A-Za-z0-9_-]+").fullmatch
_PLAIN = re.compile(r"-*[A-Za-z0-9_][A-Za-z0-9_-]*").fullmatch


def absolute_source(text: str, file: str) -> str:
    """A source in the list `file` as an absolute path or URL; addresses of YouTube pages become `youtube:ID`.

    Raises:
        WrongRow: a `file://` address of another machine.
    """
    if text[0] == "/":
        return text
    if is_file_url(text):
        try:
            return path_of_file_url(text)
        except ValueError as error:
            raise WrongRow(str(error)) from None
    if "://" in text:
        kind, rest = text.split("://", 1)
        url = f"{kind.lower()}://{rest}"
        match = _YOUTUBE_URL.match(url)
        return f"youtube:{match[1]}" if match else url
    if _ID(text):
        return text
    folder = file.rpartition("/")[0]
    if storage.is_remote(file):
        kind, place = folder.split("://", 1)
        return f"{kind}://{os.path.normpath(f'{place}/{text}')}"
    return os.path.normpath(f"{folder}/{text}")


def is_downloaded(source: str) -> bool:
    """Whether the source is an id that is looked up and downloaded."""
    return _ID(source) is not None


def plain_name(source: str) -> str:
    """The file's own name as an id: letters, digits, `_` and `-`."""
    name = source.rstrip("/").rpartition("/")[2] or source
    if "://" in source and not storage.is_stored(source):
        name = re.split(r"[?#]", name, maxsplit=1)[0]
    stem, dot, _ = name.rpartition(".")
    name = stem if dot and stem.strip(".") else name
    if is_downloaded(name):
        name = name.partition(":")[2]
    if _PLAIN(name):
        return name
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "video"


def hashed_names(source: str) -> tuple[str, str]:
    """The file's own name with a piece of a hash of the whole path, and with a longer piece. Secrets don't count, so
    that a URL with a fresh signature has the same name."""
    name, digest = plain_name(source), hashlib.sha256(mask_url(source).encode()).hexdigest()
    return f"{name}-{digest[:8]}", f"{name}-{digest[:24]}"
