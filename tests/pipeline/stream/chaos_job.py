"""A job of several ranks that is killed here and there, started again, and stopped for another number of ranks."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from chaos_rank import Job, write_whole

from cluster.file_lock import lock_within

REPOSITORY = Path(__file__).parents[3]
TOKEN = "GAVT_TEST_CHAOS"
START_S = 120.0
"""Longest time until a rank that was started shows its next batch."""
BLOCK = 4096
_KINDS = ["rank", "worker", "fetch"]
"""What is killed; of five kills one is of a rank, and three in a row from the start on are of all kinds."""


@dataclass(frozen=True)
class Line:
    """A batch as a rank noted it."""

    step: int
    time: float
    positions: list[int]
    keys: list[str]
    bad: list[int]
    crcs: list[int]


@dataclass
class Incarnation:
    """One process of a rank, from its start to its end.

    Attributes:
        started: time before it was started.
        first: the step at which it began.
    """

    process: "subprocess.Popen[bytes]"
    log: Path
    started: float
    first: int
    workers: int

    def lines(self) -> list[Line]:
        """What it noted; a last line that was cut off by its death doesn't count."""
        text = self.log.read_text() if self.log.exists() else ""
        return [Line(**json.loads(line)) for line in text.split("\n")[:-1]]


@dataclass
class Rank:
    """A rank of one stretch of the job, with its processes one after the other."""

    cursor: Path
    lives: list[Incarnation] = field(default_factory=list)

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        return self.lives[-1].process

    def step(self) -> int:
        return int(self.cursor.read_text())


@dataclass
class Stretch:
    """A part of the job with one number of ranks: from step `first` on, up to `end` in the end."""

    first: int
    ranks: list[Rank]
    end: int = -1

    def lines(self) -> Iterator[tuple[Incarnation, Line, bool]]:
        """All batches, and whether each counts, or is read again after a cursor (or by the next stretch)."""
        for rank in self.ranks:
            ends = [min(life.first, self.end) for life in rank.lives[1:]] + [self.end]
            for life, end in zip(rank.lives, ends, strict=True):
                for line in life.lines():
                    yield life, line, line.step < end


class ChaosJob:
    """Starts, kills and restarts ranks.

    Args:
        folder: for logs, cursors and the cache.
        job: what all ranks are told; rank and files are filled in, and `workers` varies after kills.
        environment: of the ranks.
    """

    def __init__(self, folder: Path, job: Job, environment: dict[str, str], seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.stretches: list[Stretch] = []
        self.counts: Counter[str] = Counter()
        self._job = job
        self._deck: list[str] = []
        self._token = uuid.uuid4().hex
        paths = os.pathsep.join(map(str, [REPOSITORY, REPOSITORY / "tests", Path(__file__).parent]))
        self._environment = environment | {"PYTHONPATH": paths, TOKEN: self._token, "OMP_NUM_THREADS": "1"}
        self._errors = (folder / "stderr.log").open("ab")

    @property
    def ranks(self) -> list[Rank]:
        return self.stretches[-1].ranks

    def begin(self, world_size: int) -> None:
        """Start so many ranks where the ones before have stopped."""
        first, number = (self.stretches[-1].end if self.stretches else 0), len(self.stretches)
        ranks = [Rank(self.folder / f"cursor-{number}-{rank}") for rank in range(world_size)]
        self.stretches.append(Stretch(first, ranks))
        for rank in ranks:
            rank.cursor.write_text(str(first))
            self._start(rank, self._job.workers)
        self.counts["jobs"] += 1
        self.wait_for_all()

    def stop(self, how: signal.Signals) -> None:
        """End all ranks; what they do next begins at the last step that all of them have in their cursors."""
        for rank in self.ranks:
            rank.process.send_signal(how)
        for rank in self.ranks:
            rank.process.wait(30)
        self.stretches[-1].end = min(rank.step() for rank in self.ranks)

    def finish(self) -> list[int]:
        """Let all ranks come to the same step and end; their exit codes."""
        goal = max([rank.step() for rank in self.ranks] + [line.step for line in self._last_lines()]) + 5
        write_whole(self._job.goal, str(goal))
        codes = [rank.process.wait(START_S) for rank in self.ranks]
        self.stretches[-1].end = goal
        return codes

    def close(self) -> None:
        """End whatever is left."""
        for stretch in self.stretches:
            for rank in stretch.ranks:
                rank.process.kill()
                rank.process.wait()
        for process in self.left():
            _signal(process, signal.SIGKILL)
        self._errors.close()

    def kill_one(self) -> bool:
        """Kill something; whether there was something to kill."""
        if not self._deck:
            self._deck = self.random.sample(_KINDS[1:], 2) + self.random.sample(_KINDS, 3)
        kind = self._deck.pop()
        if kind == "rank":
            rank = self.random.choice(self.ranks)
            rank.process.kill()
            rank.process.wait()
            self._start(rank, self._job.workers + self.random.choice([-1, 0, 0, 1]))
            self.counts["restarts"] += 1
        elif not (self._kill_a_fetching_one() if kind == "fetch" else self._kill_any_worker()):
            return False
        self.counts[kind] += 1
        return True

    def stop_one(self) -> None:
        """Stop a worker that has started (before that it can't know that its trainer ended): it stands still, and isn't
        dead."""
        workers = [worker for worker in self._workers() if _threads(worker) > 1]
        if workers:
            _signal(self.random.choice(workers), signal.SIGSTOP)
            self.counts["stopped"] += 1

    def wait_for_all(self) -> None:
        """Wait until each rank has shown two more batches."""
        until = time.monotonic() + START_S
        for rank in self.ranks:
            life, before = rank.lives[-1], len(rank.lives[-1].lines())
            while len(life.lines()) < before + 2:
                assert rank.process.poll() is None, f"a rank ended with {rank.process.poll()}: {self.errors()[-3000:]}"
                assert time.monotonic() < until, f"a rank stands still: {self.errors()[-3000:]}"
                time.sleep(0.05)

    def errors(self) -> str:
        """What ranks and workers wrote to stderr."""
        return (self.folder / "stderr.log").read_text(errors="replace")

    def left(self) -> list[psutil.Process]:
        """Processes of the job that are alive."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(TOKEN) == self._token and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def _start(self, rank: Rank, workers: int) -> None:
        number = len(self.stretches) - 1
        log = self.folder / f"log-{number}-{self.ranks.index(rank)}-{len(rank.lives)}.jsonl"
        words = json.loads(self._job.dump()) | {
            "workers": workers,
            "rank": self.ranks.index(rank),
            "world_size": len(self.ranks),
            "log": str(log),
            "cursor": str(rank.cursor),
        }
        started, first = time.time(), rank.step()
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("chaos_rank.py")), Job(**words).dump()],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stderr=self._errors,
        )
        rank.lives.append(Incarnation(process, log, started, first, workers))

    def _workers(self) -> list[psutil.Process]:
        found = []
        for rank in self.ranks:
            with suppress(psutil.Error):
                found += psutil.Process(rank.process.pid).children()
        return found

    def _kill_any_worker(self) -> bool:
        workers = self._workers()
        return bool(workers) and _signal(self.random.choice(workers), signal.SIGKILL)

    def _kill_a_fetching_one(self) -> bool:
        """Kill a worker that is just fetching an extent for the cache; whichever, if there is none for a second."""
        until = time.monotonic() + 1
        while time.monotonic() < until:
            for worker in self._workers():
                if _fetches(worker.pid):
                    self.counts["in a fetch"] += 1
                    return _signal(worker, signal.SIGKILL)
        return self._kill_any_worker()

    def _last_lines(self) -> list[Line]:
        return [lines[-1] for rank in self.ranks if (lines := rank.lives[-1].lines())]


class CacheWatch:
    """Looks at how full a cache folder is, while a job uses it."""

    def __init__(self, folder: Path) -> None:
        self.most = 0
        self.looks = 0
        self._folder = folder
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "CacheWatch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            with suppress(FileNotFoundError), (self._folder / "account").open("rb") as account:
                if lock_within(account.fileno(), 0.05):  # nobody changes it
                    files = [path.stat().st_size for path in (self._folder / "sets").rglob("*") if path.is_file()]
                    self.most = max(self.most, sum(-(-size // BLOCK) * BLOCK for size in files))
                    self.looks += 1


def _signal(process: psutil.Process, number: signal.Signals) -> bool:
    with suppress(psutil.Error):
        process.send_signal(number)
        return True
    return False


def _threads(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.num_threads())
    return 0


def _fetches(pid: int) -> bool:
    """Whether a process has a part of an extent open."""
    with suppress(OSError):
        for file in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.readlink(file.path).endswith(".part"):
                    return True
    return False
