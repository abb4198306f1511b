"""A plain list: a path, a URL or a YouTube id a line; empty lines and lines that start with `#` are passed over.

Paths are relative to the list. Eleven letters, digits, `_` or `-` without anything else are a YouTube id, and addresses
of YouTube pages are understood.
"""

import re
from collections.abc import Iterator

from cluster.masking import shown
from pipeline.prepare.manifests.formats.folder import VIDEO_SUFFIXES, is_video
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.labels import check_utf8
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row import VideoRow
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.sources import plain_name
from pipeline.prepare.manifests.splits import split_of
from pipeline.prepare.manifests.values import is_youtube_id

_SUFFIXES = (".txt", ".lst", ".list", ".csv", "")
_URL = re.compile(r"(?i:[a-z0-9]+://\S|file:/)|youtube(8m)?:[A-Za-z0-9_-]+$").match


_MORE_BEHIND = re.compile(rf"(.*?[.](?:{'|'.join(suffix[1:] for suffix in VIDEO_SUFFIXES)}))\s*[\s,;|]\s*(\S.*)", re.I)


def looks_like(head: Head) -> bool:
    """At least half of the first lines are paths of videos, URLs or YouTube ids."""
    lines = [line for line in head.lines if not line.startswith("#")]
    if head.suffix not in _SUFFIXES or not lines:
        return head.suffix in _SUFFIXES and bool(head.lines)
    if head.suffix == ".csv" and any("," in line for line in lines):
        return False
    return 2 * sum(map(_names_video, lines)) >= len(lines)


def _names_video(line: str) -> bool:
    return is_youtube_id(line) or line[0] == "/" or _URL(line) is not None or is_video(line)


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a plain list."""
    split = split_of(file.url)
    with file.open_text() as lines:
        for line, raw in enumerate(lines, 1):
            text = raw.strip()
            if not text or text[0] == "#":
                continue
            try:
                if is_youtube_id(text):
                    yield line, Naming.OWN, file.row_of_id(text, text, (), split)
                    continue
                check_utf8(text)
                _check_alone(text)
                source = file.source(text)
            except WrongRow as error:
                file.wrong(line, error)
                continue
            yield line, Naming.FILE, VideoRow(plain_name(source), source)


def _check_alone(text: str) -> None:
    more = None if is_video(text) or _URL(text) else _MORE_BEHIND.fullmatch(text)
    if more is not None:
        raise WrongRow(
            f"expected a path alone in its line, found {shown(more[2])} behind {shown(more[1])}; a list with more than "
            "paths needs a header, such as source,labels"
        )
