"""Ranks that run on several nodes of a Ray cluster: watched until all have ended, asked to leave where they must."""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import ray
import ray.exceptions

from cluster.exit_codes import IN_USE, INTERRUPTED, RESTART, WRONG_INPUT
from cluster.stop_signals import heeded_signals

_LOOK_EVERY_S = 0.5
_GRACE_S = 120.0
_GRACE_OF_CRASHED_S = 10.0  # the others wait for one that is gone, and can't save anything
_KILLED_S = 10.0
_NOTICED_S = 20.0
"""In which Ray notices that a node is gone, whose actors it has missed already."""


class Asked:
    """Which signal asked this process to leave; 0 so far."""

    def __init__(self) -> None:
        self.by = 0
        for number in heeded_signals():
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.by = self.by or number


@dataclass(frozen=True)
class RayNode:
    """A node that runs ranks.

    Attributes:
        actor: a `cluster.launchers.ray_group.RankGroup` there.
        name: of the machine.
        id: Ray's.
    """

    actor: Any
    name: str
    id: str


class RankWatch:
    """Ranks that run.

    Args:
        attempt: its number.
        running: what the `run` of each node's actor will give, and the node.
        more: whether more nodes are there, for which the ranks leave.
        asked: whether this process is to leave, and so the ranks.
        least_s: how long the ranks are left alone when more have come.

    Attributes:
        is_excused: whether it was the cluster that ended them: some nodes were lost and others were not, or more
            came. A job of which all nodes are lost may have done that itself.
        are_there: whether the nodes can run ranks again as they are.
    """

    def __init__(
        self, attempt: int, running: dict[Any, RayNode], more: Callable[[], bool], asked: Asked, least_s: float
    ) -> None:
        self._attempt, self._running, self._more, self._asked = attempt, running, more, asked
        self._nodes = len(running)
        self._lost: list[RayNode] = []
        self._codes: list[int] = []
        self._told = 0
        self._until = float("inf")
        self._alone_until = time.monotonic() + least_s
        self._makes_room = False
        self.is_excused = False
        self.are_there = True

    def wait(self) -> int | None:
        """The exit code when all have ended; None where a node was lost."""
        while self._running:
            for done in ray.wait(list(self._running), timeout=_LOOK_EVERY_S)[0]:
                self._end(done)
            if not self._told:
                self._look()
            elif time.monotonic() > self._until:
                self._kill()
        code = None if self._lost else exit_code_of(self._codes)
        self.is_excused = self._some_are_gone() or (self._makes_room and code in (RESTART, INTERRUPTED))
        self.are_there = self.are_there and not (self._lost or self._makes_room)
        return code

    def _end(self, done: Any) -> None:
        node = self._running.pop(done)
        try:
            code = ray.get(done)
        except ray.exceptions.RayError as error:
            sys.stderr.write(f"gavt: {node.name} was lost: {first_line(error)}\n")
            self._lost.append(node)
        else:
            # told to leave before it heeded signals, which it does when it starts ranks
            self._codes.append(RESTART if self._told and code == 128 + self._told else code)

    def _some_are_gone(self) -> bool:
        """Whether nodes, and not only what ran there, were lost while others were not."""
        if not 0 < len(self._lost) < self._nodes:
            return False
        until = time.monotonic() + _NOTICED_S
        while time.monotonic() < until:
            alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
            if not any(node.id in alive for node in self._lost):
                return True
            time.sleep(_LOOK_EVERY_S)
        return False

    def _look(self) -> None:
        """Whether the others are to leave."""
        failed = [code for code in self._codes if code]
        if self._lost or any(code not in (RESTART, INTERRUPTED, WRONG_INPUT, IN_USE) for code in failed):
            self._tell(signal.SIGTERM, _GRACE_OF_CRASHED_S)
        elif failed:
            self._tell(signal.SIGTERM, _GRACE_S)
        elif self._asked.by:
            self._tell(self._asked.by, _GRACE_S)
        elif time.monotonic() > self._alone_until and self._more():
            sys.stderr.write("gavt: more nodes are there; the ranks save and go on with them\n")
            self._makes_room = True
            self._tell(signal.SIGTERM, _GRACE_S)

    def _tell(self, number: int, grace_s: float) -> None:
        self._told, self._until = number, time.monotonic() + grace_s
        for node in self._running.values():
            node.actor.signal.remote(self._attempt, int(number))

    def _kill(self) -> None:
        """End those that stay, with all their ranks; one that does not end even so is on a node that is gone."""
        for node in self._running.values():
            ray.kill(node.actor)
        _, gone = ray.wait(list(self._running), num_returns=len(self._running), timeout=_KILLED_S)
        self._lost += [self._running[one] for one in gone]
        self._running = {}
        self.are_there = False


def exit_code_of(codes: Sequence[int]) -> int:
    """The exit code of ranks that have ended: what was wrong with the input says most; one that left, left because of
    another."""
    failed = [code for code in codes if code]
    return min(failed, key=lambda code: (code not in (WRONG_INPUT, IN_USE), code in (RESTART, INTERRUPTED)), default=0)


def first_line(error: Exception) -> str:
    """What is worth reading of an error of Ray."""
    return " ".join(str(error).strip().partition("\n")[0].split()) or type(error).__name__
