"""A save on its way, and one that is done."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.errors import StorageError, UserError
from cluster.os_errors import why
from pipeline.errors import CheckpointError


@dataclass
class Save:
    """One save on its way.

    Attributes:
        target: the checkpoint's folder.
        states: by file what this process writes to it, once it is taken.
        fragments: where in these files what lies, as JSON.
        manifest: of the checkpoint, without its files; on the main process.
        begun: when (`time.perf_counter`).
        stalled_s: how long training stood still for it so far.
        taken: set when the states may change.
        written: set when this process's files are there, or can't be.
        written_by_all: set when every process has said so.
        abandoned: set when other processes need not be waited for any more.
    """

    step: int
    target: Path
    states: dict[Path, Any]
    fragments: list[dict[str, Any]]
    manifest: dict[str, Any]
    begun: float
    stalled_s: float = 0.0
    taken: threading.Event = field(default_factory=threading.Event)
    written: threading.Event = field(default_factory=threading.Event)
    written_by_all: threading.Event = field(default_factory=threading.Event)
    abandoned: threading.Event = field(default_factory=threading.Event)
    write_error: BaseException | None = None
    commit_error: BaseException | None = None
    publish_error: StorageError | None = None


@dataclass
class Saved:
    """A checkpoint that is whole, and published.

    Attributes:
        step: steps done.
        seconds: from its beginning until it was whole, not yet published.
        stalled_s: of these, how long training stood still.
        bytes: of all its files.
    """

    step: int
    seconds: float
    stalled_s: float
    bytes: int


def plain_error(error: BaseException, target: Path) -> BaseException:
    """What a person can do something about as one sentence; anything else as it is."""
    if isinstance(error, OSError) and not isinstance(error, UserError):
        return CheckpointError(f"{target}: the checkpoint can't be written: {why(error)}")
    return error
