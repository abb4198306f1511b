"""AVGN's lists of names and labels, whose truths lie elsewhere: in VGG-SS' boxes, or in masks.

FILE,LABEL                 VGGSound-Single, VGGSound-Instruments: a map is called `FILE`
FILE,LABEL,FILE,LABEL      VGGSound-Duet, VGGSound-Instruments of two: sounds of two videos, added up, and their
                           frames side by side; a map a source over both frames, called `FILE+FILE:FILE`
"""

from dataclasses import replace

import numpy as np

from cluster.masking import shown
from pipeline.errors import ManifestError
from pipeline.evaluate.benchmarks.lists import open_list, read_vggss
from pipeline.evaluate.benchmarks.masks import read_masks
from pipeline.evaluate.benchmarks.sample import TRUTH_SIZE, BenchmarkSample, packed
from pipeline.prepare.manifests.csv_rows import csv_rows


def read_named(url: str, truths: str) -> tuple[list[BenchmarkSample], list[str]]:
    """A sample a source of each row whose truths are all known, and what the others' maps would be called.

    Args:
        truths: VGG-SS' JSON, or masks, see `read_masks`.

    Raises:
        ManifestError, BenchmarkError: a list can't be read, or no row has its truths.
    """
    file, rows = open_list(url), list[tuple[tuple[str, ...], tuple[str, ...]]]()
    for line, cells in csv_rows(file):
        names, labels = tuple(map(str.strip, cells[::2])), tuple(map(str.strip, cells[1::2]))
        if len(cells) not in (2, 4) or not all((*names, *labels)):
            file.wrong(line, f"expected FILE,LABEL or FILE,LABEL,FILE,LABEL, found {shown(','.join(cells))}")
        if rows and len(names) != len(rows[0][0]):
            file.wrong(line, f"expected as many files as in the first row, found {shown(','.join(cells))}")
        rows.append((names, labels))
    asked = dict.fromkeys(name for names, _ in rows for name in names)
    if truths.endswith((".json", ".json.gz")):
        known = {sample.id: sample for sample in read_vggss(truths)}
    else:
        known = read_masks(truths, asked)
    samples, without = [], []
    for names, labels in rows:
        mixture = "+".join(names) if len(names) > 1 else None
        ids = [name if mixture is None else f"{mixture}:{name}" for name in names]
        if not known.keys() >= set(names):
            without += ids
            continue
        for place, (own, name, label) in enumerate(zip(ids, names, labels, strict=True)):
            truth = _beside(known[name], place, len(names))
            samples.append(replace(truth, id=own, labels=(label,), group=mixture, seen=names))
    if rows and not samples:
        raise ManifestError(f"{truths}: expected truths of names such as {shown(rows[0][0][0])}, found none")
    return samples, without


def _beside(source: BenchmarkSample, place: int, frames: int) -> BenchmarkSample:
    """The truth of a frame, as one of several side by side."""
    if frames == 1:
        return source
    left = place * TRUTH_SIZE
    if source.mask is None:
        boxes = tuple((x1 + left, y1, x2 + left, y2) for x1, y1, x2, y2 in source.boxes)
        return replace(source, boxes=boxes)
    mask = np.zeros((TRUTH_SIZE, frames * TRUTH_SIZE), dtype=np.bool_)
    mask[:, left : left + TRUTH_SIZE] = source.truth()
    return replace(source, mask=packed(mask))
