"""wandb's files of a run: reading them, also those of a process that was killed, and putting them right."""

import glob
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FILE_HEADER = 7
_BLOCK = 32 * 1024
_RECORD_HEADER = struct.Struct("<IHB")  # checksum, length, kind
_FULL, _FIRST, _LAST = 1, 2, 4


def mend(file: Path) -> bool:
    """Cut a file off behind its last whole record, as if the process had stopped there; whether there is a record.

    At a file that breaks off, `wandb sync` gives up all files of the run.
    """
    content = file.read_bytes()
    whole = max((end for _, end in _records(content)), default=0)
    if whole < len(content):
        with file.open("r+b") as damaged:
            damaged.truncate(whole)
    return whole > 0


def read_history(file: Path) -> Iterator[dict[str, Any]]:
    """The logged records of an offline run, up to where the file breaks off."""
    from wandb.proto import wandb_internal_pb2

    for content, _ in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            yield {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}


def mend_files(folder: Path) -> None:
    """Put right what killed processes left; folders without a record go."""
    for file in wandb_files(folder):
        if not mend(file):
            shutil.rmtree(file.parent)


def mark_sent(folder: Path) -> None:
    """Have `wandb sync` pass over the files that are there."""
    for file in wandb_files(folder):
        file.with_name(file.name + ".synced").touch()


def wandb_files(folder: Path, run_id: str | None = None) -> list[Path]:
    """wandb's file of each process of the run; of one wandb run alone where its id is given."""
    name = "*" if run_id is None else glob.escape(run_id)
    return [file for file in sorted(folder.glob(f"*run-*-{name}/*.wandb")) if not file.parent.is_symlink()]


def last_step_in_files(folder: Path, run_id: str, step: str, exclude: Path) -> int:
    """The last training step, logged as `step`, in the files of earlier processes of a wandb run; −1 where there is
    none."""
    last = -1
    for file in wandb_files(folder, run_id):
        if file.parent != exclude:
            last = max([last, *(int(record[step]) for record in read_history(file) if step in record)])
    return last


def _records(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Records of a file in LevelDB's log format (pieces within blocks of 32 KiB), and where each ends."""
    position, pieces = _FILE_HEADER, b""
    while position + _RECORD_HEADER.size <= len(content):
        left = _BLOCK - position % _BLOCK
        if left < _RECORD_HEADER.size:
            position += left
            continue
        _, length, kind = _RECORD_HEADER.unpack_from(content, position)
        if kind == 0:  # the rest of the block is padding
            position += left
            continue
        start = position + _RECORD_HEADER.size
        position = start + length
        if position > len(content):
            return
        piece = content[start:position]
        pieces = piece if kind in (_FULL, _FIRST) else pieces + piece
        if kind in (_FULL, _LAST):
            yield pieces, position
