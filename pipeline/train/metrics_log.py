"""`metrics.jsonl` and `events.jsonl` of a run: one JSON object a line."""

import json
import time
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class MetricsLog:
    """The truth about a run's numbers; wandb gets the same records."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def rewind(self, step: int) -> list[Record]:
        """Drop the records of later steps (and a torn last line) and return what is left."""
        records = [record for record in read_records(self.file) if record["step"] <= step]
        part = self.file.with_suffix(".part")
        part.write_text("".join(json.dumps(record) + "\n" for record in records))
        part.replace(self.file)
        return records

    def write(self, record: Record) -> None:
        """Append a record; it is on its way to disk before training goes on."""
        with self.file.open("a") as lines:
            lines.write(json.dumps(record) + "\n")


class EventLog:
    """What happened when: start, resume, checkpoint, stop, end."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def write(self, event: str, **details: Any) -> None:
        """Append an event with the time of now."""
        with self.file.open("a") as lines:
            lines.write(json.dumps({"time": round(time.time(), 3), "event": event, **details}) + "\n")


def read_records(file: Path) -> list[Record]:
    """The records of a file, without a torn last line; empty if there is no file."""
    if not file.exists():
        return []
    records = []
    for line in file.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break  # the process was killed while it wrote this line
    return records
