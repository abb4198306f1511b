"""What a place must do with jobs."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cluster.job_folder import JobFolder
from cluster.job_records import JobRecord


class Phase(Enum):
    """What a place knows of a job now."""

    QUEUED = "queued"
    """It will start, or start again, by itself."""
    RUNNING = "running"
    GONE = "gone"
    """The place neither runs it nor will: only for certain, never because an answer failed or was empty once."""
    UNKNOWN = "unknown"
    """Nobody could be asked: the place does not answer, or must be asked from elsewhere."""


@dataclass(frozen=True)
class PlaceState:
    """What a place says of a job.

    Attributes:
        detail: in its own words, for people: `PENDING (Resources)`.
    """

    phase: Phase
    detail: str = ""


class Launcher(Protocol):
    """A place where jobs run.

    A launcher gets a job's command to run, again and again, until the job has an outcome. All it is told lies in
    `JobFolder.record`, all it finds out goes into the folder; it holds nothing else, so that any other process, on
    another machine and weeks later, can go on with `JobFolder(url)` alone. What it must see to:

    - *Command.* `record.command` reaches the processes word by word: through no shell, or quoted by `shlex`. With
      `record.ranked` one process runs for each rank, `resources.processes` in all, with the variables of
      `cluster.job_environment`; else one in all, where a Ray cluster of all nodes is there if there are several.
      The working folder is `record.directory`. A process gets SIGTERM or SIGUSR2 some time before it is killed,
      wherever the place can do so.
    - *Attempts.* Each start goes through `cluster.launchers.attempt.run_attempt`, in a process where the job runs and
      that outlives the command: it numbers and records the attempt, keeps the ranks' logs in the job folder, and
      says what comes next: `OVER`, `AGAIN` (the same command, at once, where it is), `WHEN_FREE` (the same after
      `rest`, as somebody else holds the work), or `AGAIN_LATER` (the machines are to be given up; the place starts it
      again). A place that starts it again by itself needs to do no more.
    - *Endings.* Only `outcome.json` ends a job. `run_attempt` writes it from exit codes and progress; `cancel`'s is
      written before `cancel` is called, so that nothing that sees its processes die starts them again.
    - *Secrets.* Keys (AWS, wandb) come to the processes in their environment or by the site's own means: not in
      scripts, arguments, job folders or descriptions that others can read.
    """

    def check(self, record: JobRecord) -> None:
        """Look, before anything is written or submitted, whether the place can run it.

        Raises:
            UserError: no such partition, fewer GPUs than asked for, nobody answers: one sentence.
        """

    def script(self, record: JobRecord, url: str) -> str:
        """What the place will be given for the job at `url`, as a person can read and use it; `--dry-run` prints it."""

    def submit(self, job: JobFolder) -> str:
        """Hand the job over; its id there, which is never used twice. The caller writes it down
        (`JobFolder.note_submission`). Called again by `gavt resume`, when `state` said GONE.

        Raises:
            UserError: the place refuses; nothing was submitted.
        """

    def state(self, job: JobFolder) -> PlaceState:
        """What the place knows of the job now, under the ids of `job.submissions()`."""

    def cancel(self, job: JobFolder) -> None:
        """End its processes, politely first, and take all its ids from the queue. Nothing happens where none is left.

        Raises:
            UserError: it can't be reached from here.
        """

    def logs(self, job: JobFolder) -> str:
        """What the place itself has to say, beside the ranks' logs: a queue's messages, an error of the start; empty
        where there is nothing."""
