"""Micro-batches with a look ahead."""

from collections.abc import Iterator

from pipeline.errors import RunError
from pipeline.stream.batch import Batch


class MicroBatches:
    """Gives micro-batches and says beforehand whether there is another one.

    So a process that has no data, because its shards can't be read any more, say, tells the others at the end of a step
    instead of leaving them waiting for it in the middle of the next.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._next: Batch | None = None
        self._error: Exception | None = None

    def __iter__(self) -> "MicroBatches":
        return self

    def __next__(self) -> Batch:
        if not self.has_more():
            self.fail()
        batch, self._next = self._next, None
        assert batch is not None
        return batch

    def has_more(self) -> bool:
        """Whether there is another micro-batch; it is read for that."""
        if self._next is None and self._error is None:
            try:
                self._next = next(self._batches, None)
            except Exception as error:
                self._error = error  # raised by `fail`, once the other processes know
        return self._next is not None

    def fail(self) -> None:
        """Say why there is no more.

        Raises:
            RunError: another process has no data, or there is none left.
            Exception: whatever reading it here has raised.
        """
        if self._error is not None:
            raise self._error
        raise RunError("a process has no data for another step; the log of another rank says why")
