"""The machines that a plan is made for."""

from dataclasses import dataclass

from pipeline.errors import SettingsError
from pipeline.models.peak_flops import GPUS, Precision, known_gpu, peak_flops

GIB = 2**30
_CONTEXT = 1 * GIB
"""What CUDA, NCCL and the libraries take of a GPU before anything is computed."""
_FRAGMENTS = 0.05
"""Share of a GPU's memory that is lost between tensors."""


@dataclass(frozen=True)
class Machines:
    """GPUs and what they can do.

    Attributes:
        gpus: of the whole job.
        gpus_per_node: of a machine.
        gpu_memory: bytes of one GPU.
        name: the GPU's, for its peak; None where it isn't known.
        mfu: share of its peak that the model is thought to reach, 0–1.
        samples_per_s: pace of the whole job where it was measured; it goes before `mfu`.
        on_gpu: False for plans of training on a CPU, which the tests measure.
    """

    gpus: int
    gpus_per_node: int
    gpu_memory: float
    name: str | None = None
    mfu: float = 0.4
    samples_per_s: float | None = None
    on_gpu: bool = True

    @property
    def nodes(self) -> int:
        """Machines of the job."""
        return -(-self.gpus // self.gpus_per_node)

    @property
    def usable(self) -> float:
        """Bytes of a GPU that tensors can have."""
        return self.gpu_memory * (1 - _FRAGMENTS) - _CONTEXT


def machines(
    gpus: int | None,
    nodes: int | None,
    gpus_per_node: int | None,
    gpu_memory_gib: float | None,
    name: str | None,
    mfu: float,
    samples_per_s: float | None,
) -> Machines:
    """Machines from what was asked for.

    Raises:
        SettingsError: numbers that don't go together, or a GPU that isn't known.
    """
    if gpus is None:
        gpus = (nodes or 1) * (gpus_per_node or 8) if nodes or gpus_per_node else None
    if gpus is None:
        raise SettingsError("--gpus: expected the number of GPUs, or --nodes and --gpus-per-node, found none")
    if gpus_per_node is None:
        gpus_per_node = -(-gpus // nodes) if nodes else min(gpus, 8)
    if nodes is not None and nodes * gpus_per_node != gpus:
        raise SettingsError(
            f"--gpus: expected --nodes × --gpus-per-node = {nodes} × {gpus_per_node} = {nodes * gpus_per_node}, "
            f"found {gpus}"
        )
    known = known_gpu(name) if name is not None else None
    if name is not None and known is None:
        names = ", ".join(" ".join(gpu.words) for gpu in GPUS)
        raise SettingsError(f"--gpu: expected one of {names}, or --gpu-memory without it, found {name!r}")
    memory = gpu_memory_gib or (known.memory_gib if known else None)
    if memory is None:
        raise SettingsError("--gpu-memory: expected GiB of one GPU, or --gpu with its name, found neither")
    found = Machines(gpus, gpus_per_node, memory * GIB, name, mfu, samples_per_s)
    if found.usable <= 0:
        raise SettingsError(
            f"--gpu-memory: expected more than the {_CONTEXT / GIB:.0f} GiB that CUDA and its libraries take, "
            f"found {memory:g}"
        )
    return found


def pace(where: Machines, flops_a_sample: int, precision: Precision) -> float | None:
    """Samples a second of the whole job; None where neither the pace nor the GPU's peak is known."""
    if where.samples_per_s is not None:
        return where.samples_per_s
    peak = peak_flops(where.name, precision) if where.name else None
    return None if peak is None else where.gpus * peak * where.mfu / flops_a_sample
