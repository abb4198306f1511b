"""A checkpoint as one process would have saved it, in a run folder of its own.

    OUT/                            a run folder: `gavt train CONFIG --run OUT` goes on in it
        config.yaml
        checkpoints/
            step-0000001200/
                rank-00000.safetensors  whole parameters, optimiser states, averages and buffers
                manifest.json
            latest

A run goes on from the files of any number of processes without this. It is for handing a run on, and for a second run
that branches off. Equal to the bit.
"""

import mmap
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from cluster import storage
from pipeline.errors import CheckpointError
from pipeline.settings.yaml_text import dump_yaml
from pipeline.train.checkpoints.find import find_checkpoint
from pipeline.train.checkpoints.layout import LATEST, MANIFEST, manifest_text, rank_file, step_folder
from pipeline.train.checkpoints.local_folders import check_new_folder, new_folder
from pipeline.train.checkpoints.saved_settings import saved_settings
from pipeline.train.checkpoints.saved_state import Row, SavedState, describe, rows_of
from pipeline.train.checkpoints.share import Piece, ShareFile
from pipeline.train.checkpoints.share_reader import bytes_of
from pipeline.train.run_settings import CONFIG


@dataclass(frozen=True)
class Converted:
    """What was written where."""

    checkpoint: str
    out: str
    step: int
    bytes: int


def convert(url: str, out: str) -> Converted:
    """Write a checkpoint (path or URL, of a run or a step) to a new run folder (path or URL), its states in one file.

    Raises:
        CheckpointError: no checkpoint there, a damaged one, an export, or an `out` that is in use.
    """
    checkpoint = find_checkpoint(url)
    saved_settings(checkpoint)  # which are of this version
    if checkpoint.is_export:
        raise CheckpointError(f"{checkpoint.url}: expected a checkpoint to go on from, found an export: weights alone")
    check_new_folder(out)  # before all that is read
    saved = SavedState(checkpoint)
    with new_folder(out) as run:
        target = Path(step_folder(run / "checkpoints", checkpoint.step))
        target.mkdir(parents=True)
        file, rows = _write_whole(saved, target)
        tensors = describe((0, row) for row in rows)
        manifest = dict(checkpoint.manifest) | {"world_size": 1, "files": [file], "tensors": tensors}
        (run / CONFIG).write_text(dump_yaml(checkpoint.manifest["settings"]), encoding="utf-8")
        storage.write_text(target / MANIFEST, manifest_text(manifest))
        storage.write_text(target.parent / LATEST, target.name)
    return Converted(checkpoint.url, out, checkpoint.step, int(file["bytes"]))


def _write_whole(saved: SavedState, folder: Path) -> tuple[dict[str, Any], list[Row]]:
    """Write all that was saved to one file, a few parameters at a time; what a manifest says of it, and its rows."""
    pieces = [
        Piece(kind, name, shape, saved.dtypes[name], 0, prod(shape))
        for kind in saved.kinds()
        for name, shape in saved.shapes.items()
        if saved.has(name, kind)
    ]
    layout = ShareFile(pieces)
    offsets = {(piece.kind, piece.name): offset for piece, offset in zip(pieces, layout.offsets, strict=True)}
    place = folder / rank_file(0)
    with place.open("w+b") as file:
        file.write(layout.header)
        for kind in saved.kinds():
            for name, numbers in saved.one_by_one({name: kind for name in saved.shapes if saved.has(name, kind)}):
                file.seek(offsets[kind, name])
                file.write(bytes_of(numbers))
        file.flush()
        with mmap.mmap(file.fileno(), 0) as content, memoryview(content) as view:
            entry = layout.seal(rank_file(0), view)
        os.fsync(file.fileno())
    return entry, rows_of(pieces, layout)
