"""What a job's batch script runs on its first machine: it starts `srun`, again where a rank died, keeps the logs,
records the attempts, and sees to it that Slurm starts the job again when it left to go on.

    python -m cluster.launchers.slurm_keeper JOB -- srun … gavt train …

Slurm's own requeueing (preemption, lost machines) starts the same script again under the same number, and nothing needs
to be done for it. A job that left by itself is requeued here. Where that is refused, on sites that cancel what they
preempt, and where the time has run out before all had left, a job that waits for the end of this one follows it; it is
taken back when all is done.
"""

import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

from cluster.errors import JobError, UserError
from cluster.exit_codes import IN_USE, INTERRUPTED, RESTART, WRONG_INPUT
from cluster.job_environment import without_launcher
from cluster.job_folder import JobFolder
from cluster.launchers.attempt import Then, rest, run_attempt
from cluster.launchers.rank_logs import RankLogs
from cluster.launchers.slurm import SlurmLauncher, is_cancelled_when_preempted, is_out_of_time, is_taken_away, sbatch
from cluster.programs import run_program
from cluster.slurm_step import hosts

_GRACE_OF_CRASHED_S = 5.0
_TAKEN_AWAY_S = 60.0
"""In which Slurm takes the machines of a job that it has been told to requeue."""
_LEFT = (RESTART, WRONG_INPUT, IN_USE, INTERRUPTED)
_ENDED = re.compile(rb"srun: error: .*: tasks? [\d,\[\] -]+: (?:Exited with exit code (\d+)|.+)")


class SlurmKeeper:
    """The attempts of a job as long as Slurm leaves it its machines.

    Args:
        srun: the words of a step: `srun` and what it starts.
    """

    def __init__(self, job: JobFolder, srun: Sequence[str]) -> None:
        self._job, self._srun = job, srun
        self._id = os.environ["SLURM_JOB_ID"]
        self._nodes = hosts(os.environ["SLURM_JOB_NODELIST"])
        self._asked_to_leave = False
        if self._id not in (note.id for note in job.submissions()):  # somebody submitted the script by hand
            job.note_submission(self._id, "submit", len(job.attempts()))
        signal.signal(signal.SIGTERM, self._note)

    def run(self) -> None:
        """Run attempts until the job is over or must leave."""
        if self._job.outcome is None and is_cancelled_when_preempted(self._job.record):
            self._have_one_follow()
        then = Then.AGAIN
        while then in (Then.AGAIN, Then.WHEN_FREE) and not self._asked_to_leave:
            then = run_attempt(self._job, self._id, self._step, self._nodes, lambda: self._asked_to_leave)
            if then == Then.WHEN_FREE:  # with the machines, for which it would have to queue again
                rest(self._job, lambda: self._asked_to_leave)
        if then != Then.OVER:
            self._leave()
        elif self._job.outcome is not None:
            self._call_followers_off()

    def _note(self, number: int, frame: FrameType | None) -> None:
        """Slurm wants the machines; the ranks have been told, too."""
        if not self._asked_to_leave:
            self._asked_to_leave = True
            # at once: with ranks that do not leave, this process is killed
            threading.Thread(target=self._follow_if_time_is_out, name="gavt-time-is-out").start()

    def _follow_if_time_is_out(self) -> None:
        if self._job.outcome is None and self._is(is_out_of_time):
            self._have_one_follow()

    def _is(self, how: Callable[[str], bool]) -> bool:
        """Whether Slurm says so of this job; if it does not answer, it does not."""
        try:
            return how(self._id)
        except JobError as error:
            sys.stderr.write(f"gavt: {error}\n")
            return False

    def _step(self, logs: RankLogs) -> int:
        """One `srun`; when a rank has crashed the others are ended, which would wait for it."""
        # a Ray of these machines listens to those who know its token: in the environment, which others can't read
        token = {} if self._job.record.ranked else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        process = subprocess.Popen(
            self._srun,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=without_launcher(os.environ) | token,
        )
        assert process.stdout is not None
        ending = threading.Timer(_GRACE_OF_CRASHED_S, process.terminate)
        ending.daemon = True
        with (logs.folder / "place.log").open("ab", buffering=0) as place:

            def look(line: bytes) -> None:
                place.write(line)
                ended = _ENDED.match(line)
                if ended and int(ended[1] or 1) not in _LEFT and not self._asked_to_leave and ending.ident is None:
                    ending.start()

            logs.sort(process.stdout, look)
        code = process.wait()
        ending.cancel()
        code = code if code >= 0 else 128 - code
        if code not in (0, *_LEFT) and not self._asked_to_leave:
            # for others Slurm takes machines without a word to this process, and then lets no step begin
            self._asked_to_leave = self._is(is_taken_away)
        return RESTART if self._asked_to_leave and code not in (0, *_LEFT) else code

    def _leave(self) -> None:
        """Have Slurm start the job again. Where it was Slurm that wanted the machines, it does so by itself; or
        somebody has cancelled the job, and it shall not."""
        if self._asked_to_leave or self._is_followed():
            return
        done = run_program(["scontrol", "requeue", self._id])
        if done.returncode == 0:
            time.sleep(_TAKEN_AWAY_S)
            return
        sys.stderr.write(f"gavt: {' '.join(done.stderr.split())}; another job follows this one\n")
        self._have_one_follow()

    def _have_one_follow(self) -> None:
        """Queue a job that starts when this one has ended, unless one waits already."""
        if self._is_followed():
            return
        try:
            follower = sbatch(
                SlurmLauncher().script(self._job.record, self._job.url), f"--dependency=afterany:{self._id}"
            )
        except JobError as error:  # which is no reason not to begin
            sys.stderr.write(f"gavt: no job can follow this one: {error}\n")
            return
        self._job.note_submission(follower, "chain", len(self._job.attempts()))

    def _is_followed(self) -> bool:
        """Whether a job that waits for the end of this one is queued."""
        return self._job.submissions()[-1].id != self._id

    def _call_followers_off(self) -> None:
        """Take the jobs back that wait for the end of this one."""
        others = [note.id for note in self._job.submissions() if note.id != self._id]
        if others:
            subprocess.run(["scancel", "--quiet", *others], check=False)


def main() -> None:
    """The batch script's program."""
    url, _, *srun = sys.argv[1:]
    try:
        job = JobFolder(url)
        SlurmKeeper(job, srun).run()
    except UserError as error:
        sys.stderr.write(f"gavt: {error}\n")
        raise SystemExit(WRONG_INPUT) from None
    raise SystemExit(0 if job.outcome is None or job.outcome.ending == "done" else 1)


if __name__ == "__main__":
    main()
