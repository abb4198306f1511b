"""A wandb run of `gavt prepare`: rate, failures and remaining time over the videos that are done."""

import os
import secrets
import sys
import time
from typing import Any

from cluster import storage
from cluster.masking import holds_secrets
from cluster.wandb_errors import is_raised_by_wandb, wandb_problem
from cluster.wandb_mode import leave_inherited_service, resolve_mode
from pipeline.errors import ShardSetError
from pipeline.prepare.plan import WANDB_ID
from pipeline.prepare.prepare import Progress

_EVERY_S = 5.0
_X = "videos"


class WandbProgress:
    """The wandb run of a shard set; its id lies beside the shards, so that a run that goes on is the same one. Entity,
    name, group, tags and notes are those of wandb's own variables.

    Raises:
        ShardSetError: wandb can't be reached, or does not take the run.
    """

    def __init__(self, out: str, project: str, config: dict[str, Any]) -> None:
        self._begun = time.monotonic()
        self._next = 0.0
        self._last: Progress | None = None
        self._run: Any = None
        mode = resolve_mode("auto")
        if mode == "disabled":
            return
        import wandb

        url = storage.join(out, WANDB_ID)
        storage.create(url, secrets.token_hex(4).encode())
        leave_inherited_service()
        try:
            self._run = wandb.init(
                id=storage.read_text(url).strip(),
                resume="allow" if mode == "online" else None,
                project=project,
                name=os.environ.get("WANDB_NAME") or f"prepare {out.rstrip('/').rsplit('/', 1)[-1]}",
                job_type="prepare",
                config=config | {"out": out},
                mode=mode,
                # its notes about the machine hold the command line
                settings=wandb.Settings(silent=True, console="off", x_disable_meta=holds_secrets(sys.argv)),
            )
        except Exception as error:
            if not is_raised_by_wandb(error):
                raise
            place = f"{os.environ.get('WANDB_ENTITY') or 'the default entity'}/{project}"
            problem = wandb_problem(error, place, "WANDB_ENTITY and --wandb name another place")
            raise ShardSetError(f"--wandb {project}: {problem}; WANDB_MODE=offline keeps its files here") from error
        self._run.define_metric(_X)
        self._run.define_metric("*", step_metric=_X)

    def show(self, progress: Progress) -> None:
        """Log it, unless the last time was less than 5 s ago."""
        self._last = progress
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY_S
            self._log(progress)

    def finish(self) -> None:
        """Log the last state and write out what is left."""
        if self._run is not None:
            if self._last is not None:
                self._log(self._last)
            self._run.finish()

    def _log(self, progress: Progress) -> None:
        if self._run is None:
            return
        rate = progress.videos / max(1e-9, time.monotonic() - self._begun)
        record: dict[str, Any] = {
            _X: progress.found + progress.videos,
            "samples": progress.samples,
            "failed": progress.failed,
            "videos_per_s": rate,
        }
        if rate:
            record["remaining_s"] = (progress.to_do - progress.videos) / rate
        self._run.log(record | {f"failed/{reason}": count for reason, count in progress.reasons.items()})
