"""Addresses of local files, `file:///…`."""

import re
from urllib.parse import unquote

from cluster.masking import shown

_FILE_URL = re.compile("file:/", re.IGNORECASE).match


def is_file_url(text: str) -> bool:
    """Whether it is an address such as `file:///data/a%20b.mp4`."""
    return _FILE_URL(text) is not None


def path_of_file_url(url: str) -> str:
    """The path of a `file:` address (RFC 8089), whose `%20` stands for a space.

    Raises:
        ValueError: it is on another machine.
    """
    rest = url.split(":", 1)[1]
    if not rest.startswith("//"):
        return unquote(rest, errors="surrogateescape")
    host, slash, path = rest[2:].partition("/")
    if host.lower() not in ("", "localhost") or not slash:
        raise ValueError(
            f"expected a file on this machine, file:///…, found host {shown(host)} in {shown(url)}; a path that is "
            "relative to the list stands there without file://"
        )
    return unquote(f"/{path}", errors="surrogateescape")
