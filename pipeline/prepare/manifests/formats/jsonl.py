"""gavt's own list: one JSON object a line.

    {"video": "id", "source": "videos/train/id.mp4", "labels": ["violin"], "split": "train", "start_s": 10, "end_s": 20,
     "segment_labels": [["violin"], []], "boxes": [[0.1, 0.2, 0.5, 0.9]], "visible": ["violin", "drum"], "group": null,
     "frame_s": null, "segment_heard": [["violin"], ["drum"]], "segment_visible": [["violin"], ["violin"]],
     "segment_boxes": [[[0.1, 0.2, 0.5, 0.9]], []], "sound": null, "keypoints": null, "extra": {}}

Only `source` is required. Where it is an image, `sound` is the file of its sound; `keypoints` are those found
in the video.
"""

from collections.abc import Iterator

from pydantic_core import from_json

from cluster.masking import shown
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile
from pipeline.prepare.manifests.own_row import own_row
from pipeline.prepare.manifests.row_errors import WrongRow


def looks_like(head: Head) -> bool:
    """Named so, or lines that are objects with a source."""
    return head.suffix in (".jsonl", ".ndjson") or (head.first.startswith("{") and '"source"' in head.first)


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a JSONL list."""
    with file.open_text() as lines:
        for line, text in enumerate(lines, 1):
            try:
                values = from_json(text)
            except (ValueError, TypeError) as error:
                if text.strip():
                    file.wrong(line, f"expected a JSON object, found {shown(text.strip())} ({_why(error)})")
                continue
            if type(values) is not dict:
                file.wrong(line, f"expected a JSON object, found {shown(text.strip())}")
                continue
            try:
                naming, row = own_row(values, file)
            except WrongRow as error:
                file.wrong(line, error)
                continue
            yield line, naming, row


def _why(error: ValueError | TypeError) -> str:
    # a TypeError is about bytes that are no text, so that the line is no string that can be handed on
    return "no UTF-8" if isinstance(error, TypeError) else str(error).partition(" at line ")[0]
