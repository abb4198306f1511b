"""A save on its way, and one that is done."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster.errors import UserError
from cluster.os_errors import why
from pipeline.errors import CheckpointError
from pipeline.train.checkpoints.share import Piece, ShareFile


@dataclass(frozen=True)
class Fault:
    """What went wrong with a save, in a sentence, and whether that may be over at the next one."""

    said: str
    passes: bool


@dataclass
class Save:
    """One save on its way.

    Attributes:
        number: of the saves of this process.
        target: the checkpoint's folder (path or URL).
        pieces: what this process saves.
        layout: of its file.
        manifest: of the checkpoint, without its files; on the main process.
        begun: when (`time.perf_counter`).
        stalled_s: how long training stood still for it so far.
        taken: set when the states may change.
        written: set when this process's files are there, or can't be.
        abandoned: set when other processes need not be waited for any more.
        error: what went wrong in this process.
        passes: whether that may be over at the next save: storage was away.
    """

    step: int
    number: int
    target: str
    pieces: Sequence[Piece]
    layout: ShareFile
    manifest: dict[str, Any]
    begun: float
    stalled_s: float = 0.0
    taken: threading.Event = field(default_factory=threading.Event)
    written: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None
    passes: bool = False

    @property
    def fault(self) -> Fault | None:
        """What went wrong here, for the other processes."""
        if self.error is None:
            return None
        return Fault(str(plain_error(self.error, self.target)), self.passes)


@dataclass
class Saved:
    """A checkpoint that is whole, and published.

    Attributes:
        step: steps done.
        seconds: from its beginning until it was whole, not yet published.
        stalled_s: of these, how long training stood still.
        bytes: of all its files.
        state: what the loop had it remember.
    """

    step: int
    seconds: float
    stalled_s: float
    bytes: int
    state: Mapping[str, Any]

    def told(self) -> dict[str, float]:
        """What an event says of it."""
        seconds, stalled_s = round(self.seconds, 3), round(self.stalled_s, 3)
        return {"step": self.step, "seconds": seconds, "stalled_s": stalled_s, "bytes": self.bytes}


def plain_error(error: BaseException, target: str) -> BaseException:
    """What a person can do something about as one sentence; anything else as it is."""
    if isinstance(error, OSError) and not isinstance(error, UserError):
        return CheckpointError(f"{target}: the checkpoint can't be written: {why(error)}")
    return error
