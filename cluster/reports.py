"""What every process of a job tells the main one from a thread, while training talks in collectives: those of two
threads at a time would mix."""

import secrets
import time
from collections.abc import Callable

from torch._C._distributed_c10d import HashStore, Store

from cluster.process_group import ProcessGroup

_POLL_S = 0.02
_PART = 4 << 20
"""Bytes that the store is given at once; it takes 8 MiB at most."""


class Reports:
    """Numbered reports through the store at which the job's processes have met; every process must make one. The calls
    of a process come from one thread at a time, of any threads."""

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group
        # of its own, as a connection answers one request at a time
        self._store: Store = HashStore() if group.store is None else group.store.clone()
        self._name: str = group.from_main(secrets.token_hex(4))

    def send(self, number: int, report: bytes) -> None:
        """Tell the main process something; it need not be waiting."""
        key = self._key(number, self._group.rank)
        parts = [report[at : at + _PART] for at in range(0, len(report), _PART)]
        for at, part in enumerate(parts):
            self._store.set(f"{key} {at}", part)  # type: ignore[arg-type]  # it takes bytes too
        self._store.set(key, str(len(parts)))  # last: where it is, they are

    def collect(self, number: int, given_up: Callable[[], bool]) -> list[bytes] | None:
        """The reports of all processes, in order of their ranks; None where `given_up` says so before the last is here.
        For the main process."""
        keys = [self._key(number, rank) for rank in range(self._group.world_size)]
        while not self._store.check(keys):
            if given_up():
                return None
            time.sleep(_POLL_S)
        return [self._taken(key) for key in keys]

    def _taken(self, key: str) -> bytes:
        parts = [f"{key} {at}" for at in range(int(self._store.get(key)))]
        report = b"".join(self._store.get(part) for part in parts)
        for one in (*parts, key):
            self._store.delete_key(one)
        return report

    def _key(self, number: int, rank: int) -> str:
        return f"report {self._name} {number} {rank}"
