"""A hash over everything that a list of videos is made from, without reading its rows."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict

from cluster import storage
from pipeline.prepare.manifests.formats.folder import is_video, walk_with_sizes
from pipeline.prepare.manifests.formats.registry import Format
from pipeline.prepare.manifests.options import ListOptions
from pipeline.prepare.manifests.source_kind import absolute_place
from pipeline.prepare.manifests.text import open_bytes

_BLOCK = 1 << 20


def fingerprint_of(places: Sequence[tuple[str, Format | None]], options: ListOptions) -> str:
    """SHA-256 over the options, the lists of splits, the file of offsets, each list's name and content and that of the
    files that belong to it, and each folder's listing.

    Args:
        places: absolute path or URL of each source, and the format that it is in; None for a single video.
        options: how they are read.

    Raises:
        ManifestError: a list can't be read.
    """
    digest = hashlib.sha256()

    def add(*values: str | int) -> None:
        digest.update(json.dumps(values).encode() + b"\n")

    # a relative template means another place in another working folder
    templates = {
        name: text if text is None or storage.is_remote(text) else os.path.abspath(text)
        for name in ("source", "sound", "keypoints", "offsets")
        for text in (getattr(options, name),)
    }
    for url in map(absolute_place, options.split_lists):
        add("split list", url, _content(url))
    if options.offsets is not None:
        add("offsets", _content(absolute_place(options.offsets)))
    add(*(f"{name}={value}" for name, value in {**asdict(options), **templates}.items()))
    for place, form in places:
        add(place, form.name if form else "video")
        if form is None:
            continue
        if form.name == "folder":
            for file in walk_with_sizes(place):
                if is_video(file.url):
                    add(file.url, file.size)
            continue
        add("content", _content(place))
        for name in form.companions:
            url = storage.join(place.rpartition("/")[0], name)
            if storage.exists(url):
                add(name, _content(url))
    return digest.hexdigest()


def _content(url: str) -> str:
    digest = hashlib.sha256()
    with open_bytes(url) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
