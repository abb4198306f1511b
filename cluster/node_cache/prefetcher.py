"""Extents fetched before they are read."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress

from cluster.storage import FileVersion

_AHEAD = 1024

Wish = tuple[str, FileVersion, int]
"""URL, version, number of an extent."""


class Prefetcher:
    """Fetches extents in a few threads, which begin when they are first needed.

    Args:
        fetch: fetches one; raises nothing.
        threads: at most.

    Attributes:
        pending: what was asked for and has not come yet.
    """

    def __init__(self, fetch: Callable[[Wish], None], threads: int) -> None:
        self.pending: set[Wish] = set()
        self._fetch = fetch
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._wanted: queue.Queue[Wish | None] = queue.Queue(_AHEAD)
        self._lock = threading.Lock()

    def begin(self, wish: Wish) -> bool:
        """Begin to fetch an extent; false where too many are wanted already, and this one is forgotten."""
        with self._lock:
            if self._wanted.full():
                return False
            self.pending.add(wish)
            self._wanted.put(wish)
            if len(self._threads) < min(self._most, len(self.pending)):
                self._threads.append(threading.Thread(target=self._work, daemon=True))
                self._threads[-1].start()
        return True

    def close(self) -> None:
        """End the threads; what they have begun they finish."""
        with self._lock:
            with suppress(queue.Empty):  # the threads take from it too
                while True:
                    self._wanted.get_nowait()
            for _ in self._threads:
                self._wanted.put(None)
            self._threads.clear()

    def _work(self) -> None:
        while (wish := self._wanted.get()) is not None:
            try:
                self._fetch(wish)
            finally:
                self.pending.discard(wish)
