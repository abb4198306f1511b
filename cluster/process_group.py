"""The processes of a training job: who this one is, and talking to the others."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import HashStore, Store

from cluster.beside import beside
from cluster.errors import LaunchError, UserError
from cluster.job_environment import LOCAL_RANK, JobEnvironment
from cluster.meeting_point import meet
from cluster.process_end import skip_teardown

T = TypeVar("T")
_WORD_EVERY_S = 5.0
_NO_GPUS = ("", "-1", "NoDevFiles")
"""Of CUDA_VISIBLE_DEVICES, where no GPU is wanted; the last is Slurm's for a job without any."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process among the job's.

    Attributes:
        rank: number of this process, 0 … world_size − 1.
        local_rank: its number on this machine; its GPU.
        device: where its model lives.
        nodes: machines of the job, as far as the launcher says how many processes each has.
        found: whether somebody else in this process had joined the job before, and will leave it.
        store: at which its processes have met; None for one that is alone.
    """

    rank: int
    local_rank: int
    world_size: int
    device: torch.device
    nodes: int = 1
    found: bool = False
    store: Store | None = field(default=None, compare=False, repr=False)

    @property
    def is_first_of_machine(self) -> bool:
        """Whether this process does what one on each machine has to do."""
        return self.local_rank == 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes the job's files."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums over all processes, in double precision; every process must call it."""
        if self.world_size == 1:
            return list(values)
        # NCCL needs device memory; gloo has its own
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def add_up(self, values: Tensor) -> None:
        """Replace the values by their sums over all processes, on the device; every process must call it."""
        if self.world_size > 1:
            dist.all_reduce(values)

    def broadcast(self, values: Tensor, source: int) -> None:
        """Replace the values by those of process `source`, on the device; every process must call it with as many."""
        if self.world_size > 1:
            dist.broadcast(values, source)

    def first_of_each_machine(self) -> list[int]:
        """Ranks of the processes that do what one on each machine has to do; every process must call it."""
        local = self.gather(torch.tensor([float(self.local_rank)], device=self.device))
        return [rank for rank, (number,) in enumerate(local) if number == 0]

    def gather(self, values: Tensor) -> list[list[float]]:
        """The values [N] of each process, in order of ranks; every process must call it with as many."""
        if self.world_size == 1:
            return [values.tolist()]
        rows = values.new_empty(self.world_size * len(values))
        dist.all_gather_into_tensor(rows, values)
        return rows.view(self.world_size, -1).tolist()

    def gather_objects(self, value: Any) -> list[Any]:
        """What each process has, in order of ranks; every process must call it."""
        if self.world_size == 1:
            return [value]
        everyone: list[Any] = [None] * self.world_size
        dist.all_gather_object(everyone, value)
        return everyone

    def from_main(self, value: Any) -> Any:
        """The main process's `value`, on every process."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def on_main(self, make: Callable[[], T]) -> T:
        """What the main process makes, on every process; every process must call it.

        Raises:
            UserError: the main process can't make it. All raise the same, so that none waits for the others.
        """
        made: T | UserError | None = None
        if self.is_main:
            try:
                made = make()
            except UserError as error:
                made = error
        box = self.from_main(made)
        if not isinstance(box, UserError):
            return cast(T, box)
        box.said_by_main = not self.is_main
        raise box

    def on_main_at_length(self, make: Callable[[Callable[[], None]], T], on_progress: Callable[[], None]) -> T:
        """As `on_main`, for what may take hours: meanwhile the processes exchange a word every few seconds, so that
        none runs into the time limit of a collective.

        Args:
            make: is given a function to call, from any thread, whenever it has come further.
            on_progress: called on every process when it has.
        """
        if self.world_size == 1:
            return make(on_progress)
        steps: SimpleQueue[None] = SimpleQueue()
        made: Future[T] = Future()
        if self.is_main:  # which must not wait for the end where another process is lost
            made = beside(lambda: make(lambda: steps.put(None)))
        done, seen = False, 0
        while not done:
            if self.is_main:
                wait([made], timeout=_WORD_EVERY_S)
            done, count = self.from_main((made.done(), steps.qsize()))
            if count > seen:
                on_progress()
            seen = count
        return self.on_main(made.result)

    def each(self, make: Callable[[], T]) -> T:
        """What every process makes for itself; every process must call it.

        Raises:
            UserError: one of them can't. All raise what the first of them met, so that none waits for it.
        """
        made: T | None = None
        failed: UserError | None = None
        try:
            made = make()
        except UserError as error:
            failed = error
        first = next((one for one in self.gather_objects(failed) if one is not None), None)
        if first is not None:
            first.said_by_main = not self.is_main
            raise first
        return cast(T, made)

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            dist.barrier()

    def leave(self) -> None:
        """Leave the group, if this object joined it. `cluster.process_end` has what else belongs to a quiet end."""
        if dist.is_initialized() and not self.found:
            dist.destroy_process_group()


def check_address(host: str, patience_s: float = 60.0) -> None:
    """Find the machine of the main process by its name, which may be new; torch would ask for it for an hour.

    Raises:
        LaunchError: nobody knows that name.
    """
    end = time.monotonic() + patience_s
    while True:
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            if time.monotonic() < end:
                time.sleep(0.5)
                continue
            why = error.strerror
            raise LaunchError(f"MASTER_ADDR: expected the main process's machine, found {host!r}: {why}") from None
        return


def tell_accelerator(on_gpu: bool) -> None:
    """Tell DeepSpeed, before it is imported, what this process computes on; it would guess, and warn."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if on_gpu else "cpu")


def asked_for_gpu() -> bool:
    """Whether this process can use a GPU, found out by another one: where CUDA has begun no process can be forked.

    Raises:
        ChildProcessError: the other one has failed.
    """
    asked = os.fork()
    if not asked:
        code = 2
        try:
            code = int(torch.cuda.is_available())
        finally:  # never back into the program of which this is a copy
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(asked, 0)[1])
    if code not in (0, 1):
        raise ChildProcessError(f"the process that looks for a GPU ended with code {code}")
    return code == 1


def gpu_of(local_rank: int, gpus: int) -> torch.device:
    """A process's own of the GPUs that it sees.

    Raises:
        LaunchError: there are more processes than GPUs.
    """
    if local_rank >= gpus:
        raise LaunchError(
            f"LOCAL_RANK: expected at most {gpus - 1}, as a process of this machine sees {gpus} GPU{'s' * (gpus > 1)}, "
            f"found {local_rank}; start one process a GPU (--nproc {gpus}), each of which sees all of them"
        )
    return torch.device("cuda", local_rank)


def refuse_idle_gpus(devices: Path = Path("/dev")) -> None:
    """Refuse to compute on the CPU beside GPUs that this process may use but torch can't, unless that is asked for.

    Raises:
        LaunchError: there are some; with torch's reason.
    """
    idle = [one for one in devices.glob("nvidia[0-9]*") if os.access(one, os.R_OK | os.W_OK)]
    if not idle or os.environ.get("CUDA_VISIBLE_DEVICES") in _NO_GPUS:
        return
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch doesn't declare it
        reason = "it finds none"
    except (RuntimeError, AssertionError) as error:  # the latter where torch is built without CUDA
        reason = str(error).partition("\n")[0]
    raise LaunchError(
        f"torch can't use the {len(idle)} NVIDIA GPUs of this machine: {reason}; mend that, or set "
        "CUDA_VISIBLE_DEVICES= to compute on the CPU"
    )


def join_process_group(timeout_s: float = 1800.0) -> ProcessGroup:
    """Join the job that the launcher's variables describe, or a job of one process where there are none.

    Raises:
        LaunchError: the variables contradict each other, no machine has the main process's name, there are more
            processes than GPUs or GPUs that can't be used, or as of `meet`.
    """
    job = JobEnvironment.of_this_process()
    on_gpu = torch.cuda.is_available()
    tell_accelerator(on_gpu)
    if job.main is not None:
        check_address(job.main.host)
    os.environ[LOCAL_RANK] = str(job.local_rank)  # DeepSpeed asks for it
    if not on_gpu:
        refuse_idle_gpus()
    device = gpu_of(job.local_rank, torch.cuda.device_count()) if on_gpu else torch.device("cpu")
    if on_gpu:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats its results only with this
        torch.cuda.set_device(device)
    skip_teardown()
    found = dist.is_initialized()
    if found:
        store: Store = dist.distributed_c10d._get_default_store()
    else:
        # alone, no address is needed, and none is left in the environment for child processes to take for a launcher's
        store = meet(job, timeout_s) if job.is_launched else HashStore()
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=store,
            rank=job.rank,
            world_size=job.world_size,
            timeout=timedelta(seconds=timeout_s),
            device_id=device if on_gpu else None,  # else NCCL guesses it from the rank where a collective has no tensor
        )
    return ProcessGroup(job.rank, job.local_rank, job.world_size, device, job.nodes, found, store)
