"""What Slurm tells a process that `srun` started: its rank, and where the others are."""

import re
from collections.abc import Iterator, Mapping

_FIRST_PORT, _PORTS = 20000, 10000  # above those of Ray, below those that systems hand out
_PER_NODE = re.compile(r"(\d+)(?:\(x(\d+)\))?")


def rank_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables of `cluster.job_environment` that those of Slurm stand for; none where `srun` started one process
    or none. The ranks meet on the first machine of the step, at a port that follows from the numbers of job and step:
    nobody has to be asked.

    Raises:
        ValueError: a list of machines that can't be understood.
    """
    if int(variables.get("SLURM_STEP_NUM_TASKS", "1")) < 2 or "SLURM_PROCID" not in variables:
        return {}
    node = int(variables.get("SLURM_NODEID", "0"))
    counts = list(_tasks(variables.get("SLURM_STEP_TASKS_PER_NODE", "")))
    places = hosts(variables.get("SLURM_STEP_NODELIST") or variables["SLURM_JOB_NODELIST"])
    started = [int(variables.get(name, "0")) for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")]
    told = {
        "RANK": variables["SLURM_PROCID"],
        "LOCAL_RANK": variables.get("SLURM_LOCALID", "0"),
        "WORLD_SIZE": variables["SLURM_STEP_NUM_TASKS"],
        "MASTER_ADDR": places[0],
        "MASTER_PORT": str(_FIRST_PORT + (started[0] * 97 + started[1] * 31 + started[2]) % _PORTS),
    }
    return told | ({"LOCAL_WORLD_SIZE": str(counts[node])} if node < len(counts) else {})


def is_task(variables: Mapping[str, str], pid: int | None) -> bool:
    """Whether Slurm itself started the process with this number: no launcher is between them."""
    return pid is not None and variables.get("SLURM_TASK_PID") == str(pid)


def hosts(text: str) -> list[str]:
    """The machines of a list as Slurm writes it: `gpu[01-03,7],rack[1-2]-node[0-1],login`.

    Raises:
        ValueError: it can't be understood.
    """
    found = [host for part in _split(text) for host in _expanded(part)]
    if not found:
        raise ValueError(f"expected names of machines, found {text!r}")
    return found


def _split(text: str) -> Iterator[str]:
    """Parts of a list, whose commas in brackets belong to the part."""
    depth, start = 0, 0
    for place, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            yield text[start:place]
            start = place + 1
        if depth not in (0, 1):
            break
    if depth:
        raise ValueError(f"expected brackets that close in a list of machines, found {text!r}")
    if text[start:]:
        yield text[start:]


def _expanded(part: str) -> Iterator[str]:
    before, bracket, rest = part.partition("[")
    if not bracket:
        yield part
        return
    inside, _, behind = rest.partition("]")
    ends = list(_expanded(behind)) if behind else [""]
    for piece in inside.split(","):
        first, dash, last = piece.partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else not last)):
            raise ValueError(f"expected numbers in the brackets of {part!r}, found {piece!r}")
        for number in range(int(first), int(last or first) + 1):
            yield from (f"{before}{number:0{len(first)}}{end}" for end in ends)


def _tasks(text: str) -> Iterator[int]:
    """Tasks of each machine: `2(x3),1`."""
    for count, times in _PER_NODE.findall(text):
        yield from [int(count)] * int(times or 1)
