"""What a source that the user names is: a folder, a list or a single video."""

import os

from cluster import storage
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.formats.folder import VIDEO_SUFFIXES
from pipeline.prepare.manifests.formats.registry import Format, format_named, format_of
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.sources import absolute_source, is_downloaded

_LIST_SUFFIXES = (
    ".csv",
    ".tsv",
    ".txt",
    ".lst",
    ".list",
    ".json",
    ".jsonl",
    ".ndjson",
    ".parquet",
    ".pq",
    ".h5",
    ".gz",
)


def absolute_place(source: str) -> str:
    """A source as an absolute path or URL; relative paths are relative to the working folder.

    Raises:
        ManifestError: a `file://` address of another machine.
    """
    try:
        return absolute_source(source, f"{os.getcwd()}/") if source else source
    except WrongRow as error:
        raise ManifestError(str(error)) from None


def format_at(place: str, chosen: str | None) -> Format | None:
    """The format of the list at an absolute path or URL; None for a single video.

    Raises:
        ManifestError: nothing is there, or no list in a known format.
    """
    form = None if chosen is None else format_named(chosen)
    suffix = os.path.splitext(place)[1].lower()
    on_web = place.startswith(("http://", "https://"))
    if on_web and (form is not None or suffix in _LIST_SUFFIXES):
        raise ManifestError(f"{place}: expected a list on this machine or on object storage, found one on the web")
    if on_web or is_downloaded(place) or (suffix in VIDEO_SUFFIXES and not _is_folder(place)):
        if form is not None:
            raise ManifestError(f"{place}: expected a list in format {form.name}, found a video")
        if storage.is_remote(place) or is_downloaded(place) or os.path.lexists(place):
            return None
        raise ManifestError(f"{place}: no such file or folder")
    if _is_folder(place) or (storage.is_remote(place) and form is None and suffix not in _LIST_SUFFIXES):
        if form is not None and form.name != "folder":
            raise ManifestError(f"{place}: expected a list in format {form.name}, found a folder")
        return format_named("folder")
    return form or format_of(place)


def _is_folder(place: str) -> bool:
    return not storage.is_remote(place) and os.path.isdir(place)
