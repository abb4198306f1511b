"""What names of files in a tar mean, as webdataset reads them."""

import re
from collections.abc import Iterable
from enum import Enum

_OF_THE_TAR_ITSELF = re.compile(r"__[^/]*__($|/)")


class FileKind(Enum):
    """What a file holds, as far as it matters here."""

    IMAGE = "image"
    SOUND = "sound"
    VIDEO = "video"
    ARRAY = "array"
    OTHER = "other"


_KINDS = {
    FileKind.IMAGE: ("jpg", "jpeg", "png", "webp"),
    FileKind.SOUND: ("flac", "wav", "mp3", "ogg", "oga", "opus", "m4a", "aac", "wma", "aif", "aiff", "ac3"),
    FileKind.ARRAY: ("npy",),
    FileKind.VIDEO: ("mp4", "webm", "mkv", "mov", "m4v", "avi", "mpg", "mpeg", "ts", "ogv", "flv", "wmv", "3gp"),
}
_KIND_OF = {extension: kind for kind, extensions in _KINDS.items() for extension in extensions}


def split_name(name: str) -> tuple[str, str] | None:
    """Key and extension (lower case) of a file: the key goes up to the first dot of the base name. None for files that
    belong to no sample."""
    folders, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    # webdataset's pattern takes the folder's own name for the stem of a base name that begins with its dot
    if not dot or not (stem or (slash and "." not in folders.rpartition("/")[2])) or _OF_THE_TAR_ITSELF.match(name):
        return None
    return f"{folders}{slash}{stem}", extension.lower()


def kind_of(extension: str) -> FileKind:
    """What a file with this extension holds; only what follows the last dot counts."""
    return _KIND_OF.get(extension.rpartition(".")[2], FileKind.OTHER)


def why_left_out(extensions: Iterable[str]) -> str | None:
    """What a sample of files with these extensions lacks; None where it has picture and sound, or stored features. A
    video is taken to have both: whether it has sound is seen when it is decoded."""
    kinds = {kind_of(extension) for extension in extensions}
    if FileKind.VIDEO in kinds or FileKind.ARRAY in kinds:
        return None
    if FileKind.IMAGE not in kinds:
        return "no image"
    return None if FileKind.SOUND in kinds else "no sound"
