"""IS3: images of several sounding things, each an entry with an image and a sound file of its own.

    [{"image": "…/visual_frames/accordion_female_10438_accordion.jpg", "audio": "…/audio_wav/….wav",
      "gt_box": [47.0, 99.0, 154.0, 185.0]}, …]

What stands before the last `_` of a name is the image, which entries share; what stands behind it is what sounds. Boxes
are corners in pixels of 224. Where the files don't lie where the list says, `--source` and `--sound` do.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from cluster.masking import shown
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.json_list import entries, text_of
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row_errors import WrongRow
from pipeline.prepare.manifests.splits import split_of
from pipeline.prepare.manifests.values import finite_box
from pipeline.samples.metadata import Box

DRAWN_AT = 224
"""Height and width of the images in whose pixels the boxes are."""


class Instance(NamedTuple):
    """A sounding thing: the name of its files, the image that it shares, what it is, its box in pixels."""

    name: str
    image: str
    label: str
    box: Box


def instance_of(entry: dict[str, Any]) -> Instance:
    """What an entry says.

    Raises:
        WrongRow: it is none.
    """
    name = text_of(entry, "image").rpartition("/")[2].rpartition(".")[0]
    image, _, label = name.rpartition("_")
    if not image or not label:
        raise WrongRow(f"image: expected IMAGE_LABEL.jpg, found {shown(entry.get('image'))}")
    x1, y1, x2, y2 = box = finite_box(entry.get("gt_box"), "gt_box")
    if not (0 <= x1 <= x2 <= DRAWN_AT and 0 <= y1 <= y2 <= DRAWN_AT):
        raise WrongRow(f"gt_box: expected corners x1, y1, x2, y2 in pixels of {DRAWN_AT}, found {shown(list(box))}")
    return Instance(name, image, label, box)


def looks_like(head: Head) -> bool:
    """A list of objects with an image, a sound and a box."""
    entry = head.first_entry
    return type(entry) is dict and {"image", "audio", "gt_box"} <= set(entry)


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of IS3.

    Raises:
        ManifestError: the file is no JSON list.
    """
    split = split_of(file.url)
    for number, entry in entries(file):
        try:
            name, image, label, box = instance_of(entry)
            x1, y1, x2, y2 = (corner / DRAWN_AT for corner in box)
            row = file.row_of_id(
                name,
                None,
                file.labels.of([label]),
                split,
                boxes=((x1, y1, x2, y2),),
                download=file.source(text_of(entry, "image")),
                sound=file.stored(text_of(entry, "audio"), "sound"),
                group=image,
            )
        except WrongRow as error:
            file.wrong(number, error)
            continue
        yield number, Naming.OWN, row
