"""What is made ahead of its use, by a thread of its own."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")
_Self = TypeVar("_Self", bound="Ahead[Any]")
READY = 2
"""Items that are ready at most: one evens out what takes longer now and then."""


class Ahead(Generic[_T]):
    """The items of an iterator, which a thread takes from it before they are asked for. Close it, or use it in a `with`
    block.

    Attributes:
        waited_s: seconds that whoever goes through it has waited so far.
    """

    def __init__(self, items: Iterator[_T], interrupt: Callable[[], None] = lambda: None) -> None:
        """
        Args:
            interrupt: has an iterator that waits for something come to its end soon.
        """
        self.waited_s = 0.0
        self._items, self._interrupt = items, interrupt
        self._ready: deque[_T] = deque()
        self._error: Exception | None = None
        self._ended = self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="batches ahead", daemon=True)
        self._thread.start()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self: _Self) -> _Self:
        return self

    def __next__(self) -> _T:
        if not self.has_more():
            self.check()
            raise StopIteration
        with self._changed:
            self._changed.notify_all()
            return self._ready.popleft()

    def has_more(self) -> bool:
        """Whether there is another item; waits until that is known. None comes after an error."""
        started = time.perf_counter()
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._ended)
        self.waited_s += time.perf_counter() - started
        return bool(self._ready)

    def check(self) -> None:
        """Raise what making the items has raised, if anything."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread; what it is at is left."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._interrupt()
        self._thread.join()
        self._ready.clear()

    def _work(self) -> None:
        try:
            while self._has_room():
                item = next(self._items)
                with self._changed:
                    self._ready.append(item)
                    self._changed.notify_all()
                del item  # it is somebody else's now, and may hold what comes back with its end
        except StopIteration:
            pass
        except Exception as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _has_room(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._ready) < READY)
            return not self._closed
