"""Where a run's records go beside `metrics.jsonl`."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pipeline.train.records.metrics_log import Record


class Sink(Protocol):
    """A place that shows a run. It holds each record of `metrics.jsonl` once, also after restarts."""

    def begin(self, records: Sequence[Record], events: Sequence[Mapping[str, Any]]) -> None:
        """The run starts or goes on: these are its records and events so far, in order. Called once, first."""
        ...

    def log(self, record: Record) -> None:
        """Show a record; its step is later than all before."""
        ...

    def event(self, event: Mapping[str, Any]) -> None:
        """Show an event, with its `time` (Unix), `event` and details."""
        ...

    def finish(self, failed: bool = False) -> None:
        """Write out what is left.

        Args:
            failed: the run ends with an error.
        """
        ...
