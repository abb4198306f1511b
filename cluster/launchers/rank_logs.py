"""The ranks' logs of an attempt: written here, and kept in the job folder, on S3 too."""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from cluster import storage
from cluster.errors import StorageError
from cluster.job_folder import rank_log
from cluster.masking import mask_urls
from cluster.scratch import scratch_folder
from cluster.storage.location import path_of

PUBLISH_EVERY_S = 10.0
_SAYS, _TAIL_BYTES = "gavt: ", 1 << 16
_LABELLED = re.compile(rb"\s*(\d+): ?")


class RankLogs:
    """One file a rank in a local folder, opened when the rank first says something.

    Attributes:
        folder: where they are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[int, IO[bytes]] = {}

    def of(self, rank: int) -> IO[bytes]:
        """The log of a rank, to be written to."""
        if rank not in self._open:
            self._open[rank] = (self.folder / rank_log(rank)).open("ab", buffering=0)
        return self._open[rank]

    def sort(self, lines: Iterable[bytes], others: Callable[[bytes], object]) -> None:
        """Deal out the lines of a stream that begin with `RANK: `, as `srun --label` prints them; what has no rank is
        given to `others`."""
        for line in lines:
            label = _LABELLED.match(line)
            if label is None:
                others(line)
            else:
                self.of(int(label[1])).write(line[label.end() :])

    def sentence(self) -> str | None:
        """What rank 0 said of itself last, if it said anything: `gavt: …`, as an error ends a verb."""
        file = self.folder / rank_log(0)
        if not file.exists():  # it runs on another machine
            return None
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - _TAIL_BYTES))
            lines = opened.read().decode("utf-8", errors="replace").splitlines()
        said = [line.removeprefix(_SAYS) for line in lines if line.startswith(_SAYS)]
        return mask_urls(said[-1]) if said else None

    def close(self) -> None:
        """Close all files."""
        for file in self._open.values():
            file.close()


@contextmanager
def rank_logs(url: str) -> Iterator[RankLogs]:
    """Logs that lie in the folder `url` of an attempt: at once where it is local, else every 10 s and at the end. A
    storage that is away meanwhile costs no more than logs."""
    with ExitStack() as stack:
        remote = storage.is_remote(url)
        folder = stack.enter_context(scratch_folder("gavt-logs-")) if remote else path_of(url)
        folder.mkdir(parents=True, exist_ok=True)
        if remote:
            stack.enter_context(_published(folder, url))
        logs = RankLogs(folder)
        try:
            yield logs
        finally:
            logs.close()


@contextmanager
def _published(folder: Path, url: str) -> Iterator[None]:
    """A block during which the logs of a local folder are brought to another place."""
    done = threading.Event()
    sent: dict[str, int] = {}

    def publish() -> None:
        while True:
            last = done.wait(PUBLISH_EVERY_S)
            for file in sorted(folder.glob("*.log")):
                size = file.stat().st_size
                if sent.get(file.name) == size:
                    continue
                try:
                    storage.upload(file, storage.join(url, file.name))
                except StorageError:
                    break  # the next time, as long as there is one
                sent[file.name] = size
            if last:
                return

    publishing = threading.Thread(target=publish, name="gavt-job-logs", daemon=True)
    publishing.start()
    try:
        yield
    finally:
        done.set()
        publishing.join()
