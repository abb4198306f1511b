"""gavt's own manifest: one JSON object a line.

    {"video": "id", "source": "videos/train/id.mp4", "labels": ["violin"], "split": "train",
     "boxes": [[0.1, 0.2, 0.5, 0.9]], "visible": ["violin", "drum"], "group": null, "extra": {}}

Only `source` is required.
"""

import json

from cluster import storage
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.raw_row import RawRow, check_row


def read_jsonl(file: str) -> list[RawRow]:
    """Rows of a JSONL manifest.

    Raises:
        ManifestError: a line that is not a JSON object, or a wrong row.
    """
    rows = []
    for line, text in enumerate(storage.read_text(file).split("\n"), 1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ManifestError(f"{file}:{line}: expected a JSON object, found {_start(text)} ({error.msg})") from None
        if not isinstance(values, dict):
            raise ManifestError(f"{file}:{line}: expected a JSON object, found {_start(text)}")
        rows.append(check_row(values, file, line))
    return rows


def _start(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
