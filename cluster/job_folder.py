"""The folder of a job: all that is known of it, for people and programs, local or on s3://.

    FOLDER/jobs/                    below a run folder or a shard set
        train.current               name of the job that trains in it (of evaluate and prepare likewise)
        train-20261127-063405-9f3a/
            job.json                what shall run, where, with what; written once
            settings.yaml           of what runs, as they were when it was submitted
            script                  what the place was given: `sbatch script` works without gavt's command too
            submissions/0001.json   ids at the place: of the first submission, of `gavt resume`, of chained jobs
            attempts/0001/
                attempt.json        begun, ended, exit code, how far the work came
                rank-00000.log      what each rank printed, stdout and stderr
                place.log           what the place itself said (Slurm: of this attempt)
            outcome.json            done, failed, given up, cancelled; missing as long as the job may go on

Each file has one writer at a time and is replaced whole, so any number of readers need no server and no lock.
"""

import fnmatch
import json
import re
from collections.abc import Iterator
from typing import TypeVar

from pydantic import ValidationError

from cluster import storage
from cluster.errors import JobError, MissingFileError
from cluster.job_records import Attempt, Ending, JobRecord, Outcome, Reason, Record, Submission, now
from cluster.private_folder import is_own
from cluster.storage.location import path_of

JOBS = "jobs"
"""The folder of jobs in a run folder or a shard set."""
JOB_FILE, SETTINGS, SCRIPT = "job.json", "settings.yaml", "script"
_OUTCOME = "outcome.json"
R = TypeVar("R", bound=Record)


class JobFolder:
    """A job by its folder.

    Attributes:
        url: path or URL.
        record: what shall run.
    """

    def __init__(self, url: str) -> None:
        """Open the folder of a job.

        Raises:
            JobError: there is none, or its `job.json` is damaged.
        """
        self.url = url.rstrip("/")
        try:
            self.record = _read(storage.join(self.url, JOB_FILE), JobRecord)
        except MissingFileError:
            raise JobError(f"{url}: expected the folder of a job, found no {JOB_FILE} in it") from None

    @classmethod
    def create(cls, record: JobRecord) -> "JobFolder":
        """Make the folder of a new job, the current one of its folder.

        Raises:
            JobError: another job of the same verb is current there and has not ended, or another user owns the folder.
            StorageError: it can't be written.
        """
        above = storage.join(record.folder, JOBS)
        _check_owner(above)
        url = storage.join(above, record.name)
        _take(storage.join(above, f"{record.verb}.current"), record, above)
        storage.write_text(storage.join(url, JOB_FILE), _dump(record))
        return cls(url)

    def check_owner(self) -> None:
        """Make sure that this user may change the job.

        Raises:
            JobError: another user owns it.
        """
        _check_owner(self.url)

    @property
    def name(self) -> str:
        """The job's name, unique in its folder."""
        return self.record.name

    @property
    def settings_url(self) -> str:
        """The file of the settings with which it runs."""
        return storage.join(self.url, SETTINGS)

    @property
    def outcome(self) -> Outcome | None:
        """How it ended for good, if it has."""
        return _read_if_there(storage.join(self.url, _OUTCOME), Outcome)

    def end(self, ending: Ending, why: str) -> Outcome:
        """Write down how the job ended, unless that is written already; gives what then is."""
        outcome = Outcome(ending=ending, why=why, at=now())
        place = storage.join(self.url, _OUTCOME)
        return outcome if storage.create(place, _dump(outcome).encode()) else _read(place, Outcome)

    def reopen(self) -> None:
        """Take the ending back: the job goes on."""
        storage.remove(storage.join(self.url, _OUTCOME))

    def submissions(self) -> list[Submission]:
        """All submissions, oldest first."""
        return [_read(url, Submission) for url in self._files("submissions", "*.json")]

    def note_submission(self, id: str, reason: Reason, after_attempt: int) -> Submission:
        """Write down under which id the place knows the job from now on, and how many attempts there were before."""
        number = len(self.submissions()) + 1
        note = Submission(number=number, id=id, reason=reason, at=now(), after_attempt=after_attempt)
        storage.write_text(storage.join(self.url, "submissions", f"{number:04}.json"), _dump(note))
        return note

    def attempts(self) -> list[Attempt]:
        """All attempts, oldest first."""
        return [_read(url, Attempt) for url in self._files("attempts", "*/attempt.json")]

    def write_attempt(self, attempt: Attempt) -> None:
        """Write down an attempt's begin, or its end too."""
        storage.write_text(storage.join(self.attempt_url(attempt.number), "attempt.json"), _dump(attempt))

    def attempt_url(self, number: int) -> str:
        """The folder of an attempt."""
        return storage.join(self.url, "attempts", f"{number:04}")

    def log_url(self, attempt: int, rank: int) -> str:
        """The log of a rank in an attempt."""
        return storage.join(self.attempt_url(attempt), rank_log(rank))

    def ranks(self, attempt: int) -> list[int]:
        """The ranks that have a log in an attempt."""
        names = (url.rpartition("/")[2] for url in self._files("attempts", f"{attempt:04}/rank-*.log"))
        return [int(re.sub(r"\D", "", name)) for name in names]

    def reached(self) -> int | None:
        """How far the work is; 0 where it has not begun, None where the job has no such number."""
        progress = self.record.progress
        if progress is None:
            return None
        if progress.names is not None:
            names = (file.url.rpartition("/")[2] for file in storage.list_files(progress.url))
            return sum(fnmatch.fnmatchcase(name, progress.names) for name in names)
        try:
            digits = re.findall(r"\d+", storage.read_text(progress.url))
        except MissingFileError:
            return 0
        return int(digits[-1]) if digits else 0

    def _files(self, folder: str, names: str) -> list[str]:
        start = storage.join(self.url, folder)
        files = (file.url for file in storage.list_files(start))
        return [url for url in files if fnmatch.fnmatchcase(url.removeprefix(start + "/"), names)]


def jobs_below(folder: str) -> Iterator[JobFolder]:
    """All jobs of a run folder or a shard set, oldest first."""
    above = storage.join(folder, JOBS)
    depth = above.count("/") + 2
    for file in storage.list_files(above):
        if file.url.count("/") == depth and file.url.endswith(f"/{JOB_FILE}"):
            yield JobFolder(file.url.removesuffix(f"/{JOB_FILE}"))


def rank_log(rank: int) -> str:
    """Name of a rank's log in the folder of an attempt."""
    return f"rank-{rank:05}.log"


def _take(current: str, record: JobRecord, above: str) -> None:
    """Make a job the current one of its folder and verb."""
    if storage.create(current, record.name.encode()):
        return
    before = storage.read_text(current).strip()
    try:
        job = JobFolder(storage.join(above, before))
    except JobError:
        job = None  # it was interrupted before it was a job
    if job is not None and job.outcome is None:
        raise JobError(
            f"{record.folder}: the job {before} works on it and has not ended; see gavt status {job.url}, "
            "and stop it with gavt cancel first"
        )
    storage.remove(current)  # of several that come here at once one creates it
    if not storage.create(current, record.name.encode()):
        raise JobError(f"{record.folder}: another job was submitted at the same time; see gavt jobs {record.folder}")


def _check_owner(url: str) -> None:
    """Raise a JobError where a local folder, or what is there of it, is another user's."""
    if storage.is_remote(url):
        return
    place = path_of(url)
    if place.exists() and not is_own(status := place.stat()):
        raise JobError(f"{place}: expected a folder of yours, found one of another user (id {status.st_uid})")


def _dump(record: Record) -> str:
    return json.dumps(record.model_dump(mode="json"), indent=2) + "\n"


def _read(url: str, kind: type[R]) -> R:
    try:
        return kind.model_validate(storage.read_json(url))
    except ValidationError as error:
        first = error.errors()[0]
        raise JobError(f"{url}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _read_if_there(url: str, kind: type[R]) -> R | None:
    try:
        return _read(url, kind)
    except MissingFileError:
        return None
