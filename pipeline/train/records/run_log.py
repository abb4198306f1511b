"""All that a run says of itself, in the run folder first and then in its sinks."""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from cluster.errors import StorageError, UserError
from pipeline.train.records.metrics_log import EventLog, MetricsLog, Record
from pipeline.train.records.sinks import Sink
from pipeline.train.records.tensorboard_sink import TensorboardSink
from pipeline.train.records.wandb_sink import WandbSink
from pipeline.train.run_settings import RunSettings

_log = logging.getLogger(__name__)


class RunLog:
    """Records and events of a run. Every process may call it; the main one alone writes. Where its `with` block ends
    with an error that a sentence says, that is the run's last event.

    Attributes:
        on_event: called on the main process with each event that was written.
        last: the newest value of everything that was recorded.
        started: Unix time at which the run's first process began; None before the first event.
        notes: sentences of where wandb shows the run, and of what is other there than one may think.

    Args:
        home: where the run lies for its user (path or URL), if not in `run`.
    """

    def __init__(self, settings: RunSettings, run: Path, is_main: bool, home: str | None = None) -> None:
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None
        self.last: Record = {}
        self.started: float | None = None
        self.notes: list[str] = []
        self._home = home or str(run.absolute())
        self._settings, self._run, self._is_main = settings, run, is_main
        self._metrics = MetricsLog(run / "metrics.jsonl")
        self._events = EventLog(run / "events.jsonl")
        self._counts: Counter[str] = Counter()
        self._sinks: list[Sink] = []
        self._begun = False

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, UserError) and self._begun:
            with suppress(StorageError):  # a full disk, of which the error tells
                self.event("failed", reason=str(error))
            self.finish(failed=True)

    def begin(self, step: int) -> None:
        """Begin, or go on after `step` steps: records of later steps are dropped, here and in the sinks.

        Raises:
            RunError: a new run can't be begun in wandb.
            StorageError: nothing can be written to the run folder.
        """
        if not self._is_main:
            return
        records, events = self._metrics.rewind(step), self._events.mend()
        self._counts = Counter(event["event"] for event in events)
        self.started = _begin_of(events[0]) if events else None
        self.last = {name: value for record in records for name, value in record.items()}
        self._sinks = self._open_sinks()
        for sink in self._sinks:
            sink.begin(records, events)
        self._begun = True

    def record(self, record: Record) -> Record:
        """Write a record with its `time` (Unix) and the number of events of each kind so far as `event/NAME`, and
        return it so; None stands for what is no finite number, of which JSON knows nothing."""
        if not self._is_main:
            return record
        counts = {f"event/{name}": count for name, count in sorted(self._counts.items())}
        record = {name: _finite(value) for name, value in record.items()}
        record = record | {"time": round(time.time(), 3)} | counts
        self._metrics.write(record)
        for sink in self._sinks:
            sink.log(record)
        self.last = self.last | record
        return record

    def event(self, name: str, **details: Any) -> None:
        """Write an event."""
        if not self._is_main:
            return
        event = self._events.write(name, **details)
        self.started = self.started or _begin_of(event)
        self._counts[name] += 1
        for sink in self._sinks:
            sink.event(event)
        self.on_event(event)
        _log.info("%s %s", name, details)

    def sync(self) -> None:
        """Make sure that what was written survives the machine, as the checkpoint that is saved now will."""
        if self._is_main:
            self._metrics.sync()
            self._events.sync()

    def finish(self, failed: bool = False) -> None:
        """Write out what the sinks still have, and close them."""
        sinks, self._sinks = self._sinks, []
        for sink in sinks:
            sink.finish(failed)

    def _open_sinks(self) -> list[Sink]:
        settings = self._settings
        sinks: list[Sink] = []
        if (wandb := WandbSink.open(settings, self._run, self._home, self.notes.append)) is not None:
            sinks.append(wandb)
        if settings.train.tensorboard:
            sinks.append(TensorboardSink(self._run))
        return sinks


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _begin_of(event: Mapping[str, Any]) -> float:
    """When the process began that wrote a run's first event."""
    return float(event["time"] - event.get("startup_s", 0.0))
