"""Output that nobody reads any more: `| head`, a terminal that is gone, a log on a full disk."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, TextIO, cast


class Unread:
    """A stream whose writer doesn't end with its reader: what can't be written is dropped, and letters that the
    stream's encoding lacks become question marks. In all else it is the stream.

    Attributes:
        lost: something was dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost = False
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            return self._stream.write(text)
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        self.lost = True
        # what is buffered goes there too; else Python would try it again at its end, and fail
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextmanager
def work_goes_on_unread() -> Iterator[None]:
    """A block in which work doesn't end because its output can't be written."""
    _open_closed()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # where the process was started with a stream closed
        sys.stdout, sys.stderr = (cast(TextIO, Unread(stream or nowhere)) for stream in before)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Have standard streams lead nowhere that were closed when this process was started: pipes and sockets would get
    their numbers, and what this process starts would print into those, or find none where it expects one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free: this
