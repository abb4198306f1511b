"""What is written down of a job: what shall run, how often it was submitted, its attempts, and how it ended."""

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Literal

from pydantic import BaseModel, ConfigDict

from cluster.exit_codes import HUNG, IN_USE, INTERRUPTED, RESTART, WRONG_INPUT
from cluster.site_settings import SiteSettings

Place = Literal["local", "slurm", "ray"]
Reason = Literal["submit", "resume", "chain"]
Ending = Literal["done", "failed", "given up", "cancelled"]


class Record(BaseModel):
    """A JSON file of a job folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Resources(Record):
    """What a job takes."""

    nodes: int = 1
    gpus_per_node: int = 0
    processes_per_node: int = 1
    time_s: int | None = None
    """After which the place takes the machines away; None for as long as it lets."""
    partition: str | None = None

    @property
    def processes(self) -> int:
        """Ranks of the job."""
        return self.nodes * self.processes_per_node


class ProgressFile(Record):
    """Where the job's work says how far it is, as a number that grows."""

    url: str
    """A text file whose last digits are the number; or, with `names`, a folder."""
    names: str | None = None
    """The number is that of the folder's files with such names: `shard-*.json`, say."""


class JobRecord(Record):
    """`job.json`: what shall run. It is written once."""

    version: Literal[1] = 1
    name: str
    verb: str
    """What it does; a folder has one job at a time that does it."""
    place: Place
    python: str
    """The Python that keeps the job's attempts where it runs."""
    program: tuple[str, ...]
    """Words before `words`: what runs one process of the job."""
    words: tuple[str, ...]
    """The words behind, one string each as the program gets them."""
    given: tuple[str, ...] = ()
    """Those of the person who submitted it, which `words` stand for."""
    ranked: bool
    """Whether it is started once for each rank, which are told of each other (`cluster.job_environment`); else once,
    beside a Ray cluster of all nodes where the place has several."""
    directory: str
    """The working folder that relative paths of `words` start from."""
    folder: str
    """What the job works on, a run folder or a shard set, with the job below it."""
    user: str
    host: str
    submitted: str
    """Time, as all times of these records: ISO 8601, UTC."""
    resources: Resources = Resources()
    world_sizes: tuple[int, ...] | None = None
    """Numbers of ranks among which its work can be shared out, for places that go on with fewer; None: any."""
    progress: ProgressFile | None = None
    attempts: int = 3
    """After so many attempts in a row that brought no progress the job is given up."""
    site: SiteSettings = SiteSettings()
    """The site's settings, as they were when it was submitted."""

    @property
    def command(self) -> list[str]:
        """The whole command of one process."""
        return [*self.program, *self.words]


class Submission(Record):
    """`submissions/0001.json`: the job was handed to its place."""

    number: int
    id: str
    """The job's id there."""
    reason: Reason
    at: str
    after_attempt: int
    """Attempts that were there already; of `resume`, those do not count any more."""


class Attempt(Record):
    """`attempts/0001/attempt.json`: the command was started, and ended. One whose end is missing was killed with all
    that watched it."""

    number: int
    id: str
    """The job's id at its place."""
    nodes: tuple[str, ...]
    began: str
    reached_before: int | None
    """How far the work was; None where nobody knew."""
    ended: str | None = None
    exit_code: int | None = None
    reached: int | None = None
    said: str | None = None
    """The last sentence by which rank 0 said why it ended."""
    excused: bool = False
    """Whether its place ended it, or had it find its work still held: without progress it does not count."""


class Outcome(Record):
    """`outcome.json`: how the job ended for good. There is none as long as it may go on."""

    ending: Ending
    why: str
    at: str


def attempts_without_progress(attempts: Sequence[Attempt], after: int) -> int:
    """How many of the newest attempts brought nothing, of those behind attempt number `after`.

    One that was killed has brought what the next one found. One that is excused counts only if it brought something.
    """
    counted = [attempt for attempt in attempts if attempt.number > after]
    found_next = [attempt.reached_before for attempt in counted[1:]] + [None]
    count = 0
    for attempt, later in zip(counted, found_next, strict=True):
        known = [reached for reached in (attempt.reached, later) if reached is not None]
        if known and max(known) > (attempt.reached_before or 0):
            count = 0
        elif not attempt.excused:
            count += 1
    return count


def meaning(exit_code: int | None) -> str:
    """What an attempt's exit code says, for people."""
    words = {
        None: "killed",
        0: "done",
        WRONG_INPUT: "wrong input",
        IN_USE: "in use elsewhere",
        RESTART: "saved and left, to go on",
        HUNG: "hung",
        INTERRUPTED: "interrupted",
    }
    if exit_code not in words and exit_code is not None and exit_code > 128:
        return f"killed by signal {exit_code - 128}"
    return words.get(exit_code, "crashed")


def now() -> str:
    """The time, as records have it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
