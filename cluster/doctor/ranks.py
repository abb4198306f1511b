"""Checks between the ranks of a job: each examines its own machine, and all of them add numbers up.

Reports travel through the store at which the ranks meet, not through the group that is on trial: where NCCL hangs, it
is still told who is there and what is wrong with whom.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store

from cluster.doctor.finding import Finding
from cluster.doctor.installed import differences
from cluster.errors import LaunchError
from cluster.job_environment import JobEnvironment
from cluster.json_text import parse_json
from cluster.meeting_point import meet
from cluster.process_end import skip_teardown

_REPORT_S = 120.0
"""In which every rank must have come and examined its machine."""
_REDUCE_S = 60.0
_REDUCE_BYTES = {"nccl": 256 << 20, "gloo": 8 << 20}
_ROUNDS = 3
_LOOK_EVERY_S = 0.1
_SLOW_GB_S, _SLOW_BETWEEN_GB_S = 10.0, 2.0  # NVLink or PCIe in a machine; 25 Gbit/s between machines
_MOST_NAMED = 8


@dataclass(frozen=True)
class RankReport:
    """What a rank found. The findings about a machine are its first rank's alone."""

    rank: int
    local_rank: int
    machine: str
    versions: dict[str, str]
    findings: list[Finding]

    @classmethod
    def read(cls, text: bytes) -> "RankReport":
        """Of what `write` made."""
        told = parse_json(text)
        return cls(**told | {"findings": [Finding(**finding) for finding in told["findings"]]})

    def write(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class JobReport:
    """What was found in a job.

    Attributes:
        machines: findings by machine; those about one rank name it.
        between: what is wrong between them.
    """

    machines: dict[str, list[Finding]]
    between: list[Finding]


def examine_job(
    job: JobEnvironment,
    machine: str,
    examine: Callable[[int], list[Finding]],
    versions: dict[str, str],
    patience_s: float = _REPORT_S,
) -> JobReport | None:
    """Examine the machines of a job and what is between them; every rank must call it. The main process gets the
    report, the others None.

    Args:
        job: this process in it; launched.
        machine: name of this machine.
        examine: gives what is found on this machine; is given the number of ranks.
        versions: of packages, here.
        patience_s: how long the main process waits for the others.

    Raises:
        LaunchError: the ranks' meeting place can't be reached (see `meet`).
    """
    skip_teardown()
    store = meet(job, patience_s)
    findings = [_device(job), *(examine(job.world_size) if job.local_rank == 0 else [])]
    own = RankReport(job.rank, job.local_rank, machine, versions, findings)
    store.set(f"report/{job.rank}", own.write())
    if not job.is_main:
        _follow(store, job, patience_s)
        return None
    there = _collect(store, "report", job.world_size, patience_s)
    reports = [RankReport.read(text) for _, text in sorted(there.items())]
    able = len(there) == job.world_size and all(report.findings[0].state != "fail" for report in reports)
    store.set("reduce", "yes" if able else "no")
    between = [_presence(there, job.world_size), differences(_by_machine(reports))]
    if able and job.world_size > 1:
        store.set("reduced/0", _all_reduce(store, job))
        reduced = _collect(store, "reduced", job.world_size, _REDUCE_S)
        between.append(_judge_reduce(reduced, reports))
        store.set("over", "")
    return JobReport(_of_machines(reports), between)


def _follow(store: Store, job: JobEnvironment, patience_s: float) -> None:
    """Do what the main process asks for."""
    try:
        store.wait(["reduce"], timedelta(seconds=patience_s + _REDUCE_S))
        if store.get("reduce") == b"yes":
            store.set(f"reduced/{job.rank}", _all_reduce(store, job))
            store.wait(["over"], timedelta(seconds=3 * _REDUCE_S))
    except dist.DistError as error:
        said = str(error).partition("\n")[0]
        raise LaunchError(f"rank {job.rank}: the job's main process is gone or silent: {said}") from None


def _device(job: JobEnvironment) -> Finding:
    """Whether this rank's GPU computes; first of a rank's findings."""
    name = f"device of rank {job.rank}"
    if not torch.cuda.is_available():
        return Finding(name, "ok", "CPU")
    count = torch.cuda.device_count()
    if job.local_rank >= count:
        advice = "start as many ranks a machine as it has GPUs, or let each rank see all of them"
        return Finding(name, "fail", f"rank {job.local_rank} of this machine, which shows {count} GPUs", advice)
    try:
        torch.cuda.set_device(job.local_rank)
        ones = torch.ones(256, 256, device="cuda")
        right = bool((ones @ ones == 256).all())
    except RuntimeError as error:  # CUDA's errors and out of memory
        advice = "see `nvidia-smi` and `dmesg` (Xid) there; a driver older than torch's CUDA needs to be renewed"
        return Finding(name, "fail", str(error).partition("\n")[0], advice)
    if not right:
        return Finding(name, "fail", "a product of ones came out wrong", "drain the machine: this GPU miscalculates")
    return Finding(name, "ok", torch.cuda.get_device_name())


def _all_reduce(store: Store, job: JobEnvironment) -> str:
    """Add numbers up over all ranks; seconds of the fastest round, or what went wrong, as a sentence."""
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    limit = timedelta(seconds=_REDUCE_S / 2)
    try:
        dist.init_process_group(
            backend, store=PrefixStore("trial", store), rank=job.rank, world_size=job.world_size, timeout=limit
        )
        device = torch.device("cuda", job.local_rank) if backend == "nccl" else torch.device("cpu")
        values = torch.empty(_REDUCE_BYTES[backend] // 4, device=device)
        seconds = []
        for _ in range(1 + _ROUNDS):  # the first connects
            values.fill_(1.0)
            begun = time.monotonic()
            work = dist.all_reduce(values, async_op=True)
            work.wait(limit)
            right = bool((values == job.world_size).all())  # which also waits for the GPU
            seconds.append(time.monotonic() - begun)
            if not right:
                return f"!rank {job.rank} got a wrong sum"
        return str(min(seconds[1:]))
    except RuntimeError as error:
        return f"!rank {job.rank}: {' '.join(str(error).split())[:200]}"


def _judge_reduce(reduced: dict[int, bytes], reports: list[RankReport]) -> Finding:
    """What the ranks say of their all-reduce, by rank."""
    world = len(reports)
    name = "all-reduce"
    first_look = (
        "see that NCCL_SOCKET_IFNAME (GLOO_SOCKET_IFNAME) names the network between the machines and that no firewall "
    )
    advice = f"{first_look}stands between them; NCCL_DEBUG=INFO says more"
    places = {report.rank: report.machine for report in reports}
    silent = [rank for rank in places if rank not in reduced]
    if silent:
        where = ", ".join(f"rank {rank} on {places[rank]}" for rank in silent[:_MOST_NAMED])
        return Finding(name, "fail", f"no answer in {_REDUCE_S:.0f} s from {where}", advice)
    said = [text.decode() for _, text in sorted(reduced.items())]
    wrong = next((text[1:] for text in said if text.startswith("!")), None)
    if wrong is not None:
        return Finding(name, "fail", wrong, advice)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    machines = len(set(places.values()))
    seconds = max(float(text) for text in said)
    # what a ring moves through each link: 2 (n − 1) / n of the buffer (the "bus bandwidth" of nccl-tests)
    pace = 2 * (world - 1) / world * _REDUCE_BYTES[backend] / 1e9 / seconds
    shown = f"{backend}, {world} ranks on {machines} machine{'s' * (machines > 1)}: {pace:.2f} GB/s"
    if backend == "nccl" and pace < (_SLOW_GB_S if machines == 1 else _SLOW_BETWEEN_GB_S):
        slow = (
            "see `nvidia-smi topo -m`: the GPUs reach each other neither by NVLink nor directly by PCIe"
            if machines == 1
            else "see NCCL_DEBUG=INFO for whether it uses InfiniBand (NET/IB) or falls back to TCP (NET/Socket)"
        )
        return Finding(name, "warn", shown, slow)
    return Finding(name, "ok", shown)


def _collect(store: Store, what: str, world: int, patience_s: float) -> dict[int, bytes]:
    """What ranks have put into the store under a name, as it comes, until all have or patience ends."""
    end = time.monotonic() + patience_s
    missing = set(range(world))
    found: dict[int, bytes] = {}
    while missing:
        came = {rank for rank in missing if store.check([f"{what}/{rank}"])}
        found |= {rank: bytes(store.get(f"{what}/{rank}")) for rank in came}
        missing -= came
        if time.monotonic() > end:
            break
        if missing and not came:
            time.sleep(_LOOK_EVERY_S)
    return found


def _presence(there: dict[int, bytes], world: int) -> Finding:
    missing = [rank for rank in range(world) if rank not in there]
    if not missing:
        return Finding("ranks", "ok", f"all {world} are here")
    named = ", ".join(map(str, missing[:_MOST_NAMED])) + (", …" if len(missing) > _MOST_NAMED else "")
    advice = "look at the logs of these ranks: they did not start, or can't connect to MASTER_ADDR:MASTER_PORT"
    return Finding("ranks", "fail", f"{len(there)} of {world} came; missing: {named}", advice)


def _by_machine(reports: list[RankReport]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for report in reports:
        found.setdefault(report.machine, report.versions)
    return found


def _of_machines(reports: list[RankReport]) -> dict[str, list[Finding]]:
    machines: dict[str, list[Finding]] = {}
    for report in reports:
        machines.setdefault(report.machine, []).extend(report.findings)
    return machines
