"""A folder or prefix, walked for video files."""

import os

from cluster import storage
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.raw_row import RawRow

_NAMES = "3gp|avi|flv|m2ts|m4v|mkv|mov|mp4|mpeg|mpg|mts|mxf|ogv|ts|vob|webm|wmv"
VIDEO_SUFFIXES = frozenset(f".{name}" for name in _NAMES.split("|"))


def walk_folder(folder: str) -> list[RawRow]:
    """All files below `folder` that are named like videos, sorted by path.

    Raises:
        ManifestError: there are none.
    """
    files = [file.url for file in storage.list_files(folder)]
    rows = [RawRow(source=url, place=url) for url in files if os.path.splitext(url)[1].lower() in VIDEO_SUFFIXES]
    if not rows:
        raise ManifestError(
            f"{folder}: expected a folder with videos (*.mp4, *.mkv, …), found {len(files)} other files"
        )
    return rows
