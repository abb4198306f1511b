"""What a row's source is, told from its text."""

import hashlib
import re
from enum import Enum

from cluster import storage

YOUTUBE = "youtube:"
YOUTUBE_8M = "youtube8m:"
_SUFFIX = re.compile(r"\.[a-z0-9]{2,5}")
_FILM = ".mp4 .m4v .mov .mkv .webm .avi .flv .f4v .mpg .mpeg .ts .m2ts .mts .wmv .asf .ogv .3gp .3g2 .mxf .gif .vob .dv"
_SOUND = ".mp3 .wav .flac .m4a .aac .ogg .opus"
_MEDIA = frozenset([*_FILM.split(), *_SOUND.split()])


class SourceKind(Enum):
    """How a source is brought here."""

    PLACE = "place"
    """A local path or object storage: read where it is."""
    WEB = "web"
    """An `http(s)://` URL of a file, or of a page with a video."""
    YOUTUBE = "youtube"
    """`youtube:ID`."""
    YOUTUBE_8M = "youtube8m"
    """`youtube8m:ID`, the 4 characters that stand for a video in YouTube-8M."""


def kind_of(source: str) -> SourceKind:
    """How `source` is brought here."""
    if source.startswith(("http://", "https://")):
        return SourceKind.WEB
    if source.startswith(YOUTUBE):
        return SourceKind.YOUTUBE
    if source.startswith(YOUTUBE_8M):
        return SourceKind.YOUTUBE_8M
    return SourceKind.PLACE


def names_a_media_file(url: str) -> bool:
    """Whether the path of a URL ends as a video's or a sound's does."""
    return _suffix(url) in _MEDIA


def store_name(source: str) -> str:
    """Where a source lies below a store: `ab/abcd….mp4`, from the SHA-256 of the source's text and its suffix."""
    digest = hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest()
    suffix = _suffix(source) if storage.is_remote(source) else ""
    return f"{digest[:2]}/{digest}{suffix if suffix in _MEDIA else '.video'}"


def host_of(url: str) -> str:
    """The host (and port) of a URL, which is asked at one pace."""
    return re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2].lower()


def _suffix(url: str) -> str:
    last = re.split(r"[?#]", url, maxsplit=1)[0].rpartition("/")[2].lower()
    dot = last.rfind(".")
    return last[dot:] if dot >= 0 and _SUFFIX.fullmatch(last[dot:]) else ""
