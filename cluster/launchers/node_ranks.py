"""The ranks of an attempt that run on one machine of several, below one process that a place starts there.

python -m cluster.launchers.node_ranks JOB ATTEMPT PROCESSES PARENT     as the first of the ranks here (RANK, …)
"""

import os
import sys

from cluster.job_environment import JobAttempt, JobEnvironment
from cluster.job_folder import JobFolder
from cluster.launch import launch_local
from cluster.launchers.rank_logs import rank_logs
from cluster.process_end import end_with


def run_ranks(job: JobFolder, attempt: int, processes: int) -> int:
    """Run so many ranks, the first of which is this process' own, and keep their logs; gives their exit code."""
    os.environ.update(JobAttempt(job.url, attempt).variables())
    with rank_logs(job.attempt_url(attempt)) as logs:
        first = JobEnvironment.of_this_process()
        return launch_local(job.record.command, processes, output=logs.of, among=first)


if __name__ == "__main__":
    end_with(int(sys.argv[4]))
    raise SystemExit(run_ranks(JobFolder(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
