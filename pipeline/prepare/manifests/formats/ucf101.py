"""UCF101's splits: `trainlist01.txt` and `testlist01.txt` to `03`, a video a line, with its class's number in training.

    ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1

The folder is the class. Paths are relative to the list, unless `--source '/data/UCF-101/{label}/{video}.avi'` says
where the videos lie.
"""

import re
from collections.abc import Iterator

from cluster.masking import shown
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row_errors import WrongRow

_LINE = re.compile(r"(?P<label>\w+)/(?P<video>v_\w+_g\d+_c\d+)(?P<suffix>\.\w+)(?:\s+\d+)?").fullmatch
_SPLIT = re.compile(r"(train|test)list\d*", re.I).match


def looks_like(head: Head) -> bool:
    """Its lines."""
    return bool(head.lines) and all(map(_LINE, head.lines))


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a split."""
    named = _SPLIT(file.url.rpartition("/")[2])
    split = None if named is None else named[1].lower()
    with file.open_text() as lines:
        for line, raw in enumerate(lines, 1):
            text = raw.strip()
            if not text:
                continue
            try:
                found = _LINE(text)
                if found is None:
                    raise WrongRow(
                        "expected a video such as ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi and perhaps its class's "
                        f"number, found {shown(text)}"
                    )
                place = file.source(f"{found['label']}/{found['video']}{found['suffix']}")
                row = file.row_of_id(found["video"], None, file.labels.of([found["label"]]), split, download=place)
            except WrongRow as error:
                file.wrong(line, error)
                continue
            yield line, Naming.OWN, row
