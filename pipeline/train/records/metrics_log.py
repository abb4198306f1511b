"""`metrics.jsonl` and `events.jsonl` of a run: one JSON object a line."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster import storage
from cluster.errors import StorageError
from cluster.json_text import parse_json
from cluster.os_errors import why

Record = dict[str, Any]


class MetricsLog:
    """The truth about a run's numbers; all sinks get the same records."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def rewind(self, step: int) -> list[Record]:
        """Drop the records of later steps (and a torn last line) and return what is left."""
        records = [record for record in read_records(self.file) if record["step"] <= step]
        _write_lines(self.file, records)
        return records

    def write(self, record: Record) -> None:
        """Append a record; the operating system has it before training goes on, so that SIGKILL can't lose it.

        Raises:
            StorageError: it can't be written, as on a full disk.
        """
        _append(self.file, record)

    def sync(self) -> None:
        """Bring what was written to the disk, so that the loss of the machine can't lose it either."""
        _sync(self.file)


class EventLog:
    """What happened when: start, resume, checkpoint, stop, end."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def mend(self) -> list[dict[str, Any]]:
        """Drop a torn last line, to which the next one would be glued, and return all events."""
        events = read_records(self.file)
        _write_lines(self.file, events)
        return events

    def write(self, event: str, **details: Any) -> dict[str, Any]:
        """Append an event with the time of now, and return it.

        Raises:
            StorageError: it can't be written, as on a full disk.
        """
        entry = {"time": round(time.time(), 3), "event": event, **details}
        _append(self.file, entry)
        return entry

    def sync(self) -> None:
        """Bring what was written to the disk."""
        _sync(self.file)


def append_event(run: str, event: str, **details: Any) -> None:
    """Append an event to a run (path or URL) of which no process is running."""
    url = storage.join(run, "events.jsonl")
    before = storage.read_text(url) if storage.exists(url) else ""
    entry = {"time": round(time.time(), 3), "event": event, **details}
    whole = before[: before.rfind("\n") + 1]  # without a torn last line
    storage.write_text(url, whole + json.dumps(entry) + "\n")


def read_records(file: Path) -> list[Record]:
    """The records or events of a file, as `records_in` has them; empty if there is no file."""
    return records_in(file.read_text(errors="replace", encoding="utf-8")) if file.exists() else []


def records_in(text: str) -> list[Record]:
    """The records or events of a file's text, without a line that a killed process or the loss of power left as
    something else."""
    records = []
    for line in text.splitlines():
        try:
            entry = parse_json(line)
        except ValueError:
            continue  # the last line, or one to which the launcher's word of a killed process was glued
        if isinstance(entry, dict) and (isinstance(entry.get("step"), int) or "event" in entry):
            records.append(entry)
    return records


def _append(file: Path, entry: Mapping[str, Any]) -> None:
    try:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise StorageError(f"{file}: can't be written: {why(error)}") from error


def _write_lines(file: Path, entries: list[dict[str, Any]]) -> None:
    """Replace a file's lines.

    Raises:
        StorageError: they can't be written, as on a full disk; the file is as it was.
    """
    storage.write_text(file, "".join(json.dumps(entry) + "\n" for entry in entries))


def _sync(file: Path) -> None:
    if file.exists():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
