"""TensorBoard: its files in the run folder, written anew from `metrics.jsonl` at every start.

RUN/tensorboard/events.out.tfevents.…    one event a record: all of its numbers; read with `tensorboard --logdir RUN`
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.storage.plain_errors import said_plainly
from pipeline.train.metric_names import MAPS
from pipeline.train.records.metrics_log import Record

_FILES = "events.out.tfevents.*"


class TensorboardSink:
    """A run's scalars, maps and events in TensorBoard; its x axis is the training step.

    At a restart the file is written again from the records that count, so nothing is missing or there twice, whatever
    a killed process left. It takes seconds for a hundred thousand records.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._folder = run / "tensorboard"
        self._writer: Any = None
        self._step = 0

    def begin(self, records: Sequence[Record], events: Sequence[Mapping[str, Any]]) -> None:
        """Write everything anew."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        with said_plainly("write", self._folder):
            for file in self._folder.glob(_FILES):
                file.unlink()
            self._writer = EventFileWriter(str(self._folder))
        # tells a TensorBoard that has the old file open to forget it
        self._writer.add_event(Event(session_log=SessionLog(status=SessionLog.START), step=0, wall_time=time.time()))
        for record in records:
            self._add(record)
        for event in events:
            self._add_event(event)
        self._writer.flush()

    def log(self, record: Record) -> None:
        """Add a record; it is with the operating system when this returns."""
        self._add(record)
        self._writer.flush()

    def event(self, event: Mapping[str, Any]) -> None:
        """Add an event as a line of text under the tag `event/NAME`."""
        self._add_event(event)
        self._writer.flush()

    def finish(self, failed: bool = False) -> None:
        """Close the file."""
        self._writer.close()

    def _add(self, record: Record) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._step = record["step"]
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in record.items()
            if name not in ("step", "time") and isinstance(value, int | float)
        ]
        if MAPS in record and (self._run / record[MAPS]).exists():
            values.append(Summary.Value(tag=MAPS, image=_picture(self._run / record[MAPS])))
        self._writer.add_event(Event(step=self._step, wall_time=record["time"], summary=Summary(value=values)))

    def _add_event(self, event: Mapping[str, Any]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from torch.utils.tensorboard.summary import text

        details = {name: value for name, value in event.items() if name not in ("time", "event")}
        line = ", ".join(f"{name} {value}" for name, value in details.items())
        step = event.get("step", self._step)
        summary = text(f"event/{event['event']}", line)  # type: ignore[no-untyped-call]
        self._writer.add_event(Event(step=step, wall_time=event["time"], summary=summary))


def _picture(file: Path) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    from pipeline.video.open_picture import open_picture

    content = file.read_bytes()
    with open_picture(content, ["PNG"]) as image:
        width, height = image.size
    return Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=content)
