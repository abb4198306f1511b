"""A JSON file that is one list of objects."""

import json
from collections.abc import Iterator
from typing import Any

from cluster.json_text import MOST_TEXT, parse_json
from cluster.masking import shown
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.labels import check_utf8
from pipeline.prepare.manifests.list_file import ListFile
from pipeline.prepare.manifests.row_errors import WrongRow


def entries(file: ListFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number (from 1) and content of each entry; places are numbers from here on, since such files have one line.

    Raises:
        ManifestError: the file is something else.
    """
    with file.open_text() as lines:
        text = lines.read(MOST_TEXT + 1)
    try:
        content = parse_json(text)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{file.place(error.lineno)}: expected JSON, found something else ({error.msg})") from None
    if type(content) is not list:
        raise ManifestError(f"{file.url}: expected a list of objects, found {shown(content)}")
    file.number_rows("entry")
    for number, entry in enumerate(content, 1):
        if type(entry) is dict:
            yield number, entry
        else:
            file.wrong(number, f"expected an object, found {shown(entry)}")


def text_of(entry: dict[str, Any], name: str) -> str:
    """A value that has to be text.

    Raises:
        WrongRow: it is missing or something else.
    """
    value = entry.get(name)
    if type(value) is not str or not value:
        raise WrongRow(f"{name}: expected text, found {shown(value)}")
    check_utf8(value)
    return value
