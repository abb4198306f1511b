"""How a job stands, while it changes."""

from pathlib import Path

import pytest

from cluster.job_folder import JobFolder
from cluster.job_records import Attempt, now
from cluster.launchers.contract import Phase, PlaceState
from cluster.launchers.local import LocalLauncher
from jobs.job_state import JobState
from small_job import small_job

RUNNING = Attempt(number=1, id="1", nodes=("here",), began=now(), reached_before=0)


@pytest.mark.parametrize(("outcome", "word"), [(True, "done"), (False, "running")])
def test_an_attempt_that_ends_as_its_place_is_asked_has_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: bool, word: str
) -> None:
    job = small_job(tmp_path, "")
    job.write_attempt(RUNNING)

    def ends_meanwhile(self: LocalLauncher, job: JobFolder) -> PlaceState:
        job.write_attempt(RUNNING.model_copy(update={"ended": now(), "exit_code": 0}))
        if outcome:
            job.end("done", "all is done")
        return PlaceState(Phase.RUNNING)

    monkeypatch.setattr(LocalLauncher, "state", ends_meanwhile)
    state = JobState.of(job)
    assert (state.word, state.attempts[0].exit_code) == (word, 0)
