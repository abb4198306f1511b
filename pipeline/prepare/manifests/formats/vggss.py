"""VGG-SS: JSON with a class and boxes for VGGSound's parts.

    [{"file": "zpWuikVorYg_000032", "class": "elk bugling", "bbox": [[0.403125, 0.253125, 0.6, 0.75]]}, …]

Boxes are of the frame in the middle of the part, corners in 0–1. A few have spoilt coordinates far below 0; they are
cut to the image as the official evaluation does, and left out where no corner is left; where that leaves none, one
without area says that what sounds is seen.
"""

from collections.abc import Iterator

from cluster.masking import shown
from pipeline.prepare.manifests.formats.vggsound import PART_S
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.json_list import entries, text_of
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.splits import split_of
from pipeline.prepare.manifests.values import cut_video, finite_box
from pipeline.samples.metadata import Box


def looks_like(head: Head) -> bool:
    """A list of objects with a list of boxes each."""
    entry = head.first_entry
    if type(entry) is not dict or not {"file", "class", "bbox"} <= set(entry):
        return False
    return type(entry["bbox"]) is list and all(type(box) is list for box in entry["bbox"])


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of VGG-SS.

    Raises:
        ManifestError: the file is no JSON list.
    """
    split = split_of(file.url)
    for number, entry in entries(file):
        try:
            name = text_of(entry, "file")
            part = cut_video(name)
            if part is None:
                raise WrongRow(f"file: expected a name such as zpWuikVorYg_000032, found {shown(name)}")
            labels, boxes = file.labels.of([text_of(entry, "class")]), _boxes(entry.get("bbox"))
            start_s = part[1]
            row = file.row_of_id(
                name, part[0], labels, split, start_s, start_s + PART_S, boxes=boxes, frame_s=start_s + PART_S / 2
            )
        except WrongRow as error:
            file.wrong(number, error)
            continue
        yield number, Naming.PART, row


def _boxes(values: object) -> tuple[Box, ...]:
    if type(values) is not list:
        raise WrongRow(f"bbox: expected a list of boxes, found {shown(values)}")
    boxes, spoilt = [], []
    for place, value in enumerate(values):
        x1, y1, x2, y2 = (min(max(corner, 0.0), 1.0) for corner in finite_box(value, f"bbox.{place}"))
        if x1 <= x2 and y1 <= y2:
            boxes.append((x1, y1, x2, y2))
        else:
            spoilt.append((x1, y1, x1, y1))
    return tuple(boxes or spoilt[:1])
