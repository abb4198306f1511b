"""What launchers (gavt's own, torchrun, Slurm) tell a process of its job in environment variables; nothing else reads
those."""

import math
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.errors import LaunchError
from cluster.slurm_step import is_task, rank_variables

LOCAL_RANK = "LOCAL_RANK"
_RANK, _WORLD_SIZE, _LOCAL_WORLD_SIZE = "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"
_HOST, _PORT = "MASTER_ADDR", "MASTER_PORT"
_TOGETHER = (_RANK, _WORLD_SIZE, _HOST, _PORT)
_ATTEMPT, _KEEPS_STORE = "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_USE_AGENT_STORE"
_ALLOCATION_ENDS = "SLURM_JOB_END_TIME"
_STARTED = "GAVT_JOB_STARTED"
_NODE, _SLURM_NODE = "GAVT_NODE", "SLURMD_NODENAME"
_OF_A_PROCESS = re.compile(
    r"((LOCAL|GROUP|ROLE|NODE|CROSS)_)?RANK|((LOCAL|GROUP|ROLE)_)?WORLD_SIZE|(LOCAL|CROSS)_SIZE|ROLE_NAME"
    r"|TORCHELASTIC_\w+|GAVT_JOB_STARTED|GAVT_NODE|WANDB_SERVICE"
    r"|SLURM_(STEP_\w+|STEPID|PROCID|LOCALID|NODEID|TASK_PID|GTIDS)"
)
"""Names of what tells one process of a job from the others, and of the server that wandb keeps for it."""
_JOB_ATTEMPT, _SLURM_JOB, _SLURM_RESTARTS = "GAVT_JOB_ATTEMPT", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"


@dataclass(frozen=True)
class Address:
    """Where the main process of a job can be reached."""

    host: str
    port: int


@dataclass(frozen=True)
class JobAttempt:
    """Which attempt of which submitted job a process belongs to; a later one begins only when those before are over."""

    job: str
    number: int

    def variables(self) -> dict[str, str]:
        """The variable that tells a process this."""
        return {_JOB_ATTEMPT: f"{self.number} {self.job}"}


@dataclass(frozen=True)
class JobEnvironment:
    """This process among those of its job; without a launcher, a job of one.

    Attributes:
        rank: number of this process, 0 … world_size − 1 (RANK).
        local_rank: its number on this machine (LOCAL_RANK).
        world_size: processes of the job (WORLD_SIZE).
        local_world_size: those on this machine (LOCAL_WORLD_SIZE); None where no launcher says it.
        main: where the processes meet (MASTER_ADDR, MASTER_PORT); None without a launcher.
        attempt: how often torchrun has started the processes again (TORCHELASTIC_RESTART_COUNT).
        launcher_keeps_store: whether the store at which they meet is torchrun's own (TORCHELASTIC_USE_AGENT_STORE).
        started_s: when the job began by this machine's monotonic clock (GAVT_JOB_STARTED), where gavt's launcher, which
            starts processes again, says so.
        allocation_ends_s: Unix time at which Slurm takes the machines away (SLURM_JOB_END_TIME).
        node: the name that the job's place has for this machine (GAVT_NODE, else Slurm's SLURMD_NODENAME), if any.
        job_attempt: of the submitted job (GAVT_JOB_ATTEMPT, or SLURM_JOB_ID with SLURM_RESTART_COUNT).
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int | None = None
    main: Address | None = None
    attempt: int = 0
    launcher_keeps_store: bool = False
    started_s: float | None = None
    allocation_ends_s: float | None = None
    node: str | None = None
    job_attempt: JobAttempt | None = None

    @classmethod
    def of_this_process(cls) -> "JobEnvironment":
        """What this process was told; raises as `read`."""
        return cls.read(os.environ, os.getpid())

    @classmethod
    def read(cls, variables: Mapping[str, str], pid: int | None = None) -> "JobEnvironment":
        """What variables say of a job.

        Args:
            pid: number of the process that they were given to.

        Raises:
            LaunchError: one can't be understood, or they contradict each other.
        """
        variables = _in_step(variables, pid)
        given = [name for name in _TOGETHER if name in variables]
        if given and len(given) < len(_TOGETHER):
            missing = ", ".join(name for name in _TOGETHER if name not in given)
            raise LaunchError(f"{', '.join(given)} set but not {missing}: a launcher sets all four, or none")
        job = cls(
            rank=_count(variables, _RANK) or 0,
            local_rank=_count(variables, LOCAL_RANK) or 0,
            world_size=_above_zero(variables, _WORLD_SIZE) or 1,
            local_world_size=_above_zero(variables, _LOCAL_WORLD_SIZE),
            main=_address(variables) if given else None,
            attempt=_count(variables, _ATTEMPT) or 0,
            launcher_keeps_store=_flag(variables, _KEEPS_STORE),
            started_s=_seconds(variables, _STARTED),
            allocation_ends_s=_seconds(variables, _ALLOCATION_ENDS),
            node=variables.get(_NODE) or variables.get(_SLURM_NODE),
            job_attempt=_job_attempt(variables),
        )
        if job.rank >= job.world_size:  # which the others would not miss, and this one would wait for
            raise LaunchError(f"{_RANK}: expected less than {_WORLD_SIZE} = {job.world_size}, found {job.rank}")
        if given and job.local_world_size is not None:
            _check_machine(job, job.local_world_size)
        return job

    @property
    def is_launched(self) -> bool:
        """Whether a launcher has started this process as one of a job's."""
        return self.main is not None

    @property
    def is_main(self) -> bool:
        """Whether this process speaks for the job."""
        return self.rank == 0

    @property
    def machine(self) -> str:
        """A name that no other machine of the job has, also where several of a test's are one host."""
        return self.node or socket.gethostname()

    @property
    def nodes(self) -> int:
        """Machines of the job, as far as the launcher says how many processes each has."""
        return -(-self.world_size // (self.local_world_size or self.world_size))

    def variables(self) -> dict[str, str]:
        """The variables that tell a process this."""
        told: dict[str, object] = {LOCAL_RANK: self.local_rank, _LOCAL_WORLD_SIZE: self.local_world_size}
        if self.main is not None:
            place = (self.rank, self.world_size, self.main.host, self.main.port)
            told |= dict(zip(_TOGETHER, place, strict=True))
        told |= {_ATTEMPT: self.attempt or None, _KEEPS_STORE: self.launcher_keeps_store or None}
        told |= {_STARTED: self.started_s, _ALLOCATION_ENDS: self.allocation_ends_s, _NODE: self.node}
        told |= {} if self.job_attempt is None else self.job_attempt.variables()
        return {name: str(value) for name, value in told.items() if value is not None}


def without_launcher(variables: Mapping[str, str]) -> dict[str, str]:
    """What a job may inherit of the environment of who submits it, who may be a process of another job itself: a
    notebook below `torchrun`, say. Where its processes meet stays if a person has set it, and no launcher."""
    of_another = {_HOST, _PORT} if _RANK in variables else set()
    return {
        name: value for name, value in variables.items() if name not in of_another and not _OF_A_PROCESS.fullmatch(name)
    }


def _in_step(variables: Mapping[str, str], pid: int | None) -> Mapping[str, str]:
    """The variables that count in a step of `srun` that has ranks: Slurm's own, whatever was inherited from who
    submitted, unless a launcher in between has set all of them. A person may choose where the ranks meet."""
    between = all(name in variables for name in (*_TOGETHER, LOCAL_RANK)) and not is_task(variables, pid)
    if between:
        return variables
    try:
        told = rank_variables(variables)
    except ValueError as error:
        raise LaunchError(f"SLURM_…: {error}") from None
    if not told:
        return variables
    chosen = {name: variables[name] for name in (_HOST, _PORT) if name in variables}
    return without_launcher(variables) | told | chosen


def _job_attempt(variables: Mapping[str, str]) -> JobAttempt | None:
    number, _, job = variables.get(_JOB_ATTEMPT, "").partition(" ")
    if job and number.isdecimal():
        return JobAttempt(job, int(number))
    if _SLURM_JOB in variables:
        return JobAttempt(f"Slurm's {variables[_SLURM_JOB]}", _count(variables, _SLURM_RESTARTS) or 0)
    return None


def _check_machine(job: JobEnvironment, processes: int) -> None:
    """Raise a LaunchError where what is said of this machine contradicts what is said of the job."""
    if processes > job.world_size:
        raise LaunchError(f"{_LOCAL_WORLD_SIZE}: expected at most {_WORLD_SIZE} = {job.world_size}, found {processes}")
    if job.local_rank >= processes:
        raise LaunchError(f"{LOCAL_RANK}: expected less than {_LOCAL_WORLD_SIZE} = {processes}, found {job.local_rank}")


def _address(variables: Mapping[str, str]) -> Address:
    port = _count(variables, _PORT) or 0
    if not 0 < port < 2**16:
        raise LaunchError(f"{_PORT}: expected 1 to 65535, found {port}")
    return Address(variables[_HOST], port)


def _count(variables: Mapping[str, str], name: str) -> int | None:
    text = variables.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise LaunchError(f"{name}: expected a number, found {text!r}")
    return int(text)


def _above_zero(variables: Mapping[str, str], name: str) -> int | None:
    count = _count(variables, name)
    if count == 0:
        raise LaunchError(f"{name}: expected a number of processes, found 0")
    return count


def _flag(variables: Mapping[str, str], name: str) -> bool:
    text = variables.get(name, str(False))
    if text not in (str(True), str(False)):
        raise LaunchError(f"{name}: expected True or False, found {text!r}")
    return text == str(True)


def _seconds(variables: Mapping[str, str], name: str) -> float | None:
    text = variables.get(name)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise LaunchError(f"{name}: expected a time in seconds, found {text!r}")
    return seconds
