"""MUSIC and MUSIC21: JSON with YouTube ids by instrument; two instruments of a duet are separated by a space.

{"version": 1.0, "videos": {"flute": ["jW_AuF6dQYY", …], "flute violin": ["8DHG_hVSw1o", …]}}
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from cluster.json_text import MOST_TEXT, parse_json
from cluster.masking import shown
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.splits import split_of
from pipeline.prepare.manifests.values import youtube_id

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def looks_like(head: Head) -> bool:
    """A JSON object with videos."""
    return head.suffix == ".json" and head.start.startswith("{") and '"videos"' in head.start


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a MUSIC list.

    Raises:
        ManifestError: the file is no such JSON.
    """
    with file.open_text() as lines:
        text = lines.read(MOST_TEXT + 1)
    videos = _videos(text, file)
    strings, split = _Strings(text), split_of(file.url)
    strings.line_of("videos")
    for name, ids in videos.items():
        line = strings.line_of(name)
        try:
            labels = file.labels.of(name.split())
            if type(ids) is not list:
                raise WrongRow(f"videos.{name}: expected a list of YouTube ids, found {shown(ids)}")
        except WrongRow as error:
            file.wrong(line, error)
            continue
        for video in ids:
            try:
                if type(video) is not str:
                    raise WrongRow(f"videos.{name}: expected YouTube ids, found {shown(video)}")
                line = strings.line_of(video)
                row = file.row_of_id(youtube_id(video), video, labels, split)
            except WrongRow as error:
                file.wrong(line, error)
                continue
            yield line, Naming.OWN, row


def _videos(text: str, file: ListFile) -> dict[str, Any]:
    try:
        content = parse_json(text)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{file.place(error.lineno)}: expected JSON, found something else ({error.msg})") from None
    videos = content.get("videos") if type(content) is dict else None
    if type(videos) is not dict:
        raise ManifestError(f"{file.url}: expected {{'videos': {{'flute': […], …}}}}, found {shown(content)}")
    return videos


class _Strings:
    """The strings of a JSON text, in their order, with their lines."""

    def __init__(self, text: str) -> None:
        self._text, self._found = text, _STRING.finditer(text)
        self._place, self._line = 0, 1

    def line_of(self, value: str) -> int:
        """The line of the next string that is `value`."""
        for match in self._found:
            if match[0][1:-1] == value or parse_json(match[0]) == value:
                self._line += self._text.count("\n", self._place, match.start())
                self._place = match.start()
                break
        return self._line
