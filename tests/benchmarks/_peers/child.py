"""A loader in a process of its own, seen from the benchmark."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from _peers.install import peers_folder
from _peers.job import Job

_BENCHMARKS = Path(__file__).parents[1]
_OURS = {"bare_loop", "bare_requests", "gavt_loader", "webdataset_loader"}


@dataclass(frozen=True)
class EpochTime:
    """How an epoch went.

    Attributes:
        seconds: the whole epoch; the first one includes building the loader, not importing it.
        first_batch, first_batch_s: samples of its first batch, and the time until it was there.
        import_s: what importing the loader's libraries took.
        peak_mb: most memory of the process itself so far, without its workers.
    """

    samples: int
    seconds: float
    first_batch: int
    first_batch_s: float
    import_s: float
    peak_mb: float

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.samples / self.seconds

    @property
    def flow(self) -> float:
        """Samples a second behind the first batch, without what it takes to begin."""
        return (self.samples - self.first_batch) / (self.seconds - self.first_batch_s)


class Child:
    """A loader that waits in its process between epochs.

    Raises:
        RuntimeError: the loader broke; its last words are in the message.
    """

    def __init__(self, job: Job) -> None:
        self.job = job

    def __enter__(self) -> "Child":
        Path(self.job.scratch).mkdir(parents=True, exist_ok=True)
        self._words = tempfile.TemporaryFile("w+")
        command = [sys.executable, "-m", "_peers.serve", json.dumps(asdict(self.job))]
        self._process = subprocess.Popen(
            command,
            env=environment(self.job.loader) | {"TMPDIR": self.job.scratch},  # where peers leave locks and caches
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:  # a peer that does not end by itself
            self._process.kill()
            self._process.wait()
        self._words.close()

    def epoch(self) -> EpochTime:
        """Go through the set once."""
        self._process.stdin.write("epoch\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self._process.wait()
            self._words.seek(0)
            raise RuntimeError(f"{self.job.loader} broke:\n{self._words.read()[-3000:]}")
        return EpochTime(**json.loads(answer))


def environment(loader: str) -> dict[str, str]:
    """Variables of a loader's process: where its libraries lie, one thread for torch in each process."""
    path = [str(_BENCHMARKS), str(_BENCHMARKS.parents[1])]
    if loader not in _OURS:
        path.append(str(peers_folder()))
    return os.environ | {"PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
