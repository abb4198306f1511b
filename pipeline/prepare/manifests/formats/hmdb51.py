"""HMDB51's splits: a file a class and split, `brush_hair_test_split1.txt`, in which each video is of training (1), of
the test (2) or of neither (0).

    April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1

The file's name has the class, which is the folder of its videos beside the lists, unless `--source
'/data/hmdb51/{label}/{video}.avi'` says where they lie. All lists of a split are given together
(`splits/*_test_split1.txt`).
"""

import re
from collections.abc import Iterator

from cluster.masking import shown
from pipeline.errors import ManifestError
from pipeline.prepare.manifests.head import Head
from pipeline.prepare.manifests.list_file import Draft, ListFile, Naming
from pipeline.prepare.manifests.row_errors import WrongRow

_NAME = re.compile(r"(\w+)_test_split\d+\.txt(?:\.gz)?", re.I).fullmatch
_LINE = re.compile(r"(?P<video>[^/]+)(?P<suffix>\.\w+)\s+(?P<split>[012])").fullmatch
_SPLITS = {"0": None, "1": "train", "2": "test"}


def looks_like(head: Head) -> bool:
    """Its lines, and a name with a class in it."""
    return _NAME(head.name) is not None and bool(head.lines) and all(map(_LINE, head.lines))


def read(file: ListFile) -> Iterator[Draft]:
    """Rows of a class in a split; videos of neither part are passed over.

    Raises:
        ManifestError: the file's name has no class in it.
    """
    named = _NAME(file.url.rpartition("/")[2])
    if named is None:
        raise ManifestError(
            f"{file.url}: expected a name such as brush_hair_test_split1.txt, which has the class in it"
        )
    label = named[1]
    with file.open_text() as lines:
        for line, raw in enumerate(lines, 1):
            text = raw.strip()
            if not text:
                continue
            try:
                found = _LINE(text)
                if found is None:
                    raise WrongRow(f"expected a video's name and 0, 1 or 2, found {shown(text)}")
                split = _SPLITS[found["split"]]
                if split is None:
                    continue
                place = file.source(f"{label}/{found['video']}{found['suffix']}")
                row = file.row_of_id(found["video"], None, file.labels.of([label]), split, download=place)
            except WrongRow as error:
                file.wrong(line, error)
                continue
            yield line, Naming.OWN, row
