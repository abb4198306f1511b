"""Finding a job by what a person calls it: its name, its folder, or the run folder that it works on.

Names are known where they were submitted: a file each in `~/.local/state/gavt/jobs` (or below `XDG_STATE_HOME`), which
holds the URL of the job's folder. Everywhere else the folder does.
"""

import os
from pathlib import Path

from cluster import storage
from cluster.errors import JobError, MissingFileError
from cluster.job_folder import JOB_FILE, JobFolder, jobs_below
from jobs.output import complain


def note_job(job: JobFolder) -> None:
    """Have the job found by its name from here on; a home that can't be written to costs no more than that."""
    try:
        _state().mkdir(parents=True, exist_ok=True)
        (_state() / job.name).write_text(job.url, encoding="utf-8")
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}; the job is found by its folder only: {job.url}")


def find_job(word: str) -> JobFolder:
    """The job that a word names; of a run folder or a shard set the newest.

    Raises:
        JobError: there is none.
    """
    if "/" not in word and (url := _url_of(word)) is not None:
        return JobFolder(url)
    place = storage.absolute(word)
    if storage.exists(storage.join(place, JOB_FILE)):
        return JobFolder(place)
    jobs = list(jobs_below(place))
    if not jobs:
        raise JobError(f"{word}: expected the name or the folder of a job, or a run folder with jobs, found none")
    return max(jobs, key=lambda job: job.record.submitted)


def noted_jobs() -> list[JobFolder]:
    """All jobs that were submitted from here and are there still, oldest first."""
    found = []
    for name in sorted(os.listdir(_state())) if _state().is_dir() else ():
        url = _url_of(name)
        if url is None:
            continue
        try:
            found.append(JobFolder(url))
        except (JobError, MissingFileError):
            continue  # its folder was removed
    return sorted(found, key=lambda job: job.record.submitted)


def _url_of(name: str) -> str | None:
    try:
        return (_state() / name).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _state() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "gavt" / "jobs"
