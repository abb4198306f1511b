"""Noticing that a run hangs, and ending it such that somebody can see why and a launcher can start it again.

    RUN/logs/
        heartbeat-rank-00000.json   where each process is: beats so far, step, phase, time of writing
        hang-ab12cd34.json          the alarm of one start of the run; it is there once a process has hung for too long
        stacks-rank-00000.txt       stacks of all threads of each process, written at the alarm

Every process has a thread that looks whether its training thread still moves. Who waits in a collective for a process
that is stuck or gone does not move either, so the alarm is raised by whoever notices first; the others see it in the
folder that they share, write their stacks too, and all end with exit code 76. The event `hang` names the process that
was behind.

Machines that share no folder, of a run on object storage, each raise an alarm of their own; then all send stacks and
places to the run, and the main process's machine reads there where the others were.
"""

import contextlib
import faulthandler
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from cluster import storage
from cluster.beside import beside
from cluster.errors import MissingFileError, StorageError
from cluster.exit_codes import HUNG
from cluster.process_group import ProcessGroup
from pipeline.train.records.metrics_log import EventLog

_LONGEST_LOOK_S = 15.0
_LOOKS_TO_WAIT = 4
_HEARTBEAT_BYTES = 200
_SEND_S = 30.0


class Watchdog:
    """Watches this process while it is in the `with` block; every process of the job must enter it.

    Args:
        run: the run folder.
        hang_s: without a beat for so long, the process hangs. Time in which it is stopped (Ctrl-Z) doesn't count.
        url: of the run, where `run` is a folder that only the processes of this machine share.
        publish: brings what this process has written to the run there.
    """

    def __init__(
        self,
        run: Path,
        group: ProcessGroup,
        hang_s: float,
        url: str | None = None,
        publish: Callable[[], None] = lambda: None,
    ) -> None:
        self._run, self._folder, self._group, self._hang_s = run, run / "logs", group, hang_s
        self._url, self._publish = url, publish
        self._look_s = min(hang_s / 20, _LONGEST_LOOK_S)
        self._place = (0, 0, "start-up")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._folder.mkdir(parents=True, exist_ok=True)
        machine = "" if self._url is None else f"-{self._group.rank - self._group.local_rank}"
        self._alarm = self._folder / f"hang-{self._group.from_main(os.urandom(4).hex())}{machine}.json"
        if self._group.is_main:
            for old in self._folder.glob("hang-*.json"):
                old.unlink()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def beat(self, phase: str, step: int) -> None:
        """The training thread has come to `phase` of a step; all processes come to the same ones in the same order."""
        self._place = (self._place[0] + 1, step, phase)

    def _watch(self) -> None:
        last, still_s = self._place, 0.0
        while not self._over.wait(self._look_s):
            with contextlib.suppress(OSError):  # a full disk, say; who watches goes on
                self._write_heartbeat()
            still_s = 0.0 if self._place is not last else still_s + self._look_s
            last = self._place
            heard = os.path.exists(self._alarm)
            if heard or still_s >= self._hang_s:
                self._end(None if heard else still_s)

    def _end(self, still_s: float | None) -> None:
        """End the process, whatever can be written before; None where another one has raised the alarm."""
        try:
            if still_s is None:
                self._follow()
            else:
                self._raise_alarm(still_s)
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(HUNG)

    def _write_heartbeat(self) -> None:
        beats, step, phase = self._place
        place = {"beats": beats, "step": step, "phase": phase, "written": time.time()}
        # in one piece and in place: no reader sees half of it, and no file comes and goes while the run is published
        with open(
            os.open(self._heartbeat(self._group.rank), os.O_WRONLY | os.O_CREAT, 0o644), "wb", buffering=0
        ) as file:
            file.write(json.dumps(place).ljust(_HEARTBEAT_BYTES).encode())

    def _raise_alarm(self, still_s: float) -> None:
        """Write stacks and, once the others had time to write theirs, who was behind."""
        try:
            self._alarm.touch(exist_ok=False)
        except FileExistsError:
            return self._follow()
        self._dump_stacks()
        self._over.wait(self._look_s * _LOOKS_TO_WAIT)  # the others write theirs
        if self._url is not None and self._group.rank != self._group.local_rank:  # the main process's machine says it
            self._alarm.write_text("{}", encoding="utf-8")
            return
        places = {rank: self._read_place(rank) for rank in range(self._group.world_size)}
        # of those that came less far than others, or as far, one that has not been heard of is the one to look at
        behind = min(places, key=lambda rank: (places[rank]["beats"], places[rank]["written"]))
        details = {
            "rank": behind,
            "step": places[behind]["step"],
            "phase": places[behind]["phase"],
            "answers": self._has_dumped(behind),  # not where it is stopped, dead, or on a machine that is
            "after_s": round(still_s, 1),
            "places": [f"{rank}: step {place['step']}, {place['phase']}" for rank, place in places.items()],
        }
        # nobody comes to say it later: this process is about to end
        sys.stderr.write(
            f"gavt: rank {behind} does not move: step {details['step']}, {details['phase']}, for {still_s:.0f} s; "
            f"the stacks of all processes are in {self._folder}; the same command goes on from the last checkpoint\n"
        )
        sys.stderr.flush()
        try:
            EventLog(self._run / "events.jsonl").write("hang", **details)
        finally:  # for which the others wait
            self._alarm.write_text(json.dumps(details), encoding="utf-8")
            self._send()  # the event

    def _follow(self) -> None:
        """Another process has raised the alarm: write stacks, and let it write its report."""
        self._dump_stacks()
        deadline = time.monotonic() + 10 + 2 * self._look_s * _LOOKS_TO_WAIT
        while self._alarm.stat().st_size == 0 and time.monotonic() < deadline:
            time.sleep(self._look_s / 4)

    def _dump_stacks(self) -> None:
        with self._stacks(self._group.rank).open("w", encoding="utf-8") as file:
            _, step, phase = self._place
            file.write(f"rank {self._group.rank}, step {step}, {phase}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        self._send()

    def _send(self) -> None:
        """Bring what is written here to the run, if that lies elsewhere; not for longer than a storage that works
        takes."""
        try:
            beside(self._publish).result(_SEND_S)
        except (StorageError, TimeoutError):
            traceback.print_exc()

    def _has_dumped(self, rank: int) -> bool:
        """Whether a process has written its stacks since the alarm."""
        stacks = self._stacks(rank)
        if self._url is not None and not self._heartbeat(rank).exists():  # of another machine
            return time.time() - float(self._read_place(rank)["written"]) < 2 * self._look_s * _LOOKS_TO_WAIT
        return stacks.exists() and stacks.stat().st_mtime_ns >= self._alarm.stat().st_mtime_ns

    def _stacks(self, rank: int) -> Path:
        return self._folder / f"stacks-rank-{rank:05d}.txt"

    def _heartbeat(self, rank: int) -> Path:
        return self._folder / f"heartbeat-rank-{rank:05d}.json"

    def _read_place(self, rank: int) -> dict[str, Any]:
        file = self._heartbeat(rank)
        with contextlib.suppress(MissingFileError):  # it never came so far as to write one
            if self._url is None or file.exists():
                return storage.read_json(file)
            return storage.read_json(storage.join(self._url, "logs", file.name))
        return {"beats": -1, "step": 0, "phase": "not started", "written": 0.0}
