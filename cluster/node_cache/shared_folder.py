"""A cache's folder as one process sees it: usable, or left alone for a while."""

import logging
import threading
import time
from pathlib import Path

from cluster.errors import StorageError
from cluster.node_cache.account import CacheAccount
from cluster.node_cache.places import ExtentPlaces
from cluster.storage import FileVersion

_REST_S = 30.0
_log = logging.getLogger(__name__)


class SharedFolder:
    """The folder of a cache, which all processes of the node share. Where it can't be used it is left alone for half a
    minute, with one warning, and tried again.

    Args:
        folder, max_bytes, extent_bytes, ring_bytes: as `CacheAccount`.

    Attributes:
        account: of the folder; None as long as it can't be opened, and after `close`.
    """

    def __init__(self, folder: str | Path, max_bytes: int, extent_bytes: int, ring_bytes: int | None) -> None:
        self.account: CacheAccount | None = None
        self._folder = Path(folder).absolute()
        self._max_bytes = max_bytes
        self._extent_bytes = extent_bytes
        self._ring_bytes = ring_bytes
        self._places = ExtentPlaces(self._folder, extent_bytes, self._claim)
        self._rests_until = 0.0
        self._warned = False
        self._lock = threading.Lock()
        self._join()

    def extent(self, url: str, version: FileVersion, number: int) -> str:
        """Path of an extent, without its ending; its set is one that this process uses."""
        return self._places.extent(url, version, number)

    def rests(self) -> bool:
        """Whether the folder is left alone for now."""
        if time.monotonic() < self._rests_until:
            return True
        if self.account is None:
            with self._lock:
                if self.account is None and time.monotonic() >= self._rests_until:
                    self._join()
        return self.account is None

    def rest(self, error: OSError | StorageError) -> None:
        """Leave the folder alone for a while, since this happened."""
        self._rests_until = max(self._rests_until, time.monotonic() + _REST_S)  # forever, once it is closed
        if not self._warned:
            self._warned = True
            problem = f"{self._folder}: can't keep anything here ({error})" if isinstance(error, OSError) else error
            _log.warning("%s; bytes come straight from where they lie", problem)

    def close(self) -> None:
        """Let others know that this process uses nothing any more."""
        with self._lock:
            self._rests_until = float("inf")
            if self.account is not None:
                self.account.close()
                self.account = None

    def _join(self) -> None:
        try:
            self.account = CacheAccount(self._folder, self._max_bytes, self._extent_bytes, self._ring_bytes)
        except (OSError, StorageError) as error:
            self.rest(error)
        else:
            self._places.forget()

    def _claim(self, name: str, url: str) -> bool:
        account = self.account
        if account is None:
            return False
        try:
            account.claim(name, url)
        except OSError as error:
            self.rest(error)
            return False
        return True
